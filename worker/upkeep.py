"""The rounds that somebody has to make: free the jobs of dead workers, finish off drafts, certify repairs, call back.

    upkeep     every second: reaper, drafts, repairs that a budget held up, certificates of repaired models, checkpoints
    webhooks   every second: deliveries that are due
    orphans    every LETHE_ORPHAN_SECONDS: keys and objects that a killed process left behind

In embedded mode the worker makes them, in production the dispatcher. Two that make them side by side are safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from core.persistence.database import VERSIONS_CHANNEL, Listener, is_away
from core.pulse import beat
from core.use_cases.check_stores import sweep_orphans
from core.use_cases.deliver_webhooks import deliver_due
from core.use_cases.doors import Doors
from core.use_cases.look_after import (
    certify_repaired,
    destroy_abandoned_drafts,
    free_expired_jobs,
    resume_repairs,
    sign_checkpoint_if_grown,
)

log = structlog.get_logger()
ROUND_SECONDS = 1.0
TROUBLE_SECONDS = 1.0
MOST_DELIVERIES = 100


class Upkeep:
    """Three loops: the rounds, the webhooks, whose receivers may be slow, and the orphans, which takes long."""

    def __init__(self, doors: Doors, part: str, name: str, stopping: threading.Event) -> None:
        """Keep what is needed.

        Args:
            doors: where everything is.
            part: `worker` or `dispatcher`, for its signs of life.
            name: of this process, in the log's entries.
            stopping: set when the process must end.
        """
        self.doors, self.part, self.name, self.stopping = doors, part, name, stopping
        self._signed = float("-inf")

    def threads(self) -> list[threading.Thread]:
        """Return the loops, not started yet."""
        return [
            threading.Thread(target=self._make_rounds, name="upkeep"),
            threading.Thread(target=self._deliver, name="webhooks"),
            threading.Thread(target=self._sweep, name="orphans"),
        ]

    def once(self) -> bool:
        """Make one round; return whether all of it went well.

        What fails keeps nothing else from being done, unless it is the database that is away.
        """
        steps = (
            lambda: free_expired_jobs(self.doors),
            lambda: destroy_abandoned_drafts(self.doors),
            lambda: resume_repairs(self.doors),
            lambda: certify_repaired(self.doors, self.name),
            self._sign,
        )
        went_well = True
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - a loop outlives whatever one round does
                self._tell("upkeep", error)
                went_well = False
                if is_away(error):
                    break  # for the steps that are left as well, and each of them would say so
        return went_well

    def _sign(self) -> None:
        if time.monotonic() - self._signed > self.doors.settings.checkpoint_seconds:
            sign_checkpoint_if_grown(self.doors)
            self._signed = time.monotonic()

    def _make_rounds(self) -> None:
        ears: Listener | None = None
        while not self.stopping.is_set():
            done = self.once()
            if done:
                beat(self.part, "upkeep")
            try:
                ears = ears or self.doors.database.listen(VERSIONS_CHANNEL)
                ears.wait(ROUND_SECONDS)
            except Exception as error:  # noqa: BLE001 - the database may be away for a while
                if done:  # otherwise it was told just now
                    self._tell("upkeep", error)
                _close(ears)
                ears = None
                done = False
            if not done:
                self.stopping.wait(TROUBLE_SECONDS)
        _close(ears)

    def _deliver(self) -> None:
        while not self.stopping.is_set():
            if self._went_well("webhooks", lambda: deliver_due(self.doors, most=MOST_DELIVERIES)):
                beat(self.part, "webhooks")
            self.stopping.wait(ROUND_SECONDS)

    def _sweep(self) -> None:
        seconds = self.doors.settings.orphan_seconds
        while seconds and not self.stopping.wait(seconds):
            try:
                swept = sweep_orphans(self.doors)
            except Exception as error:  # noqa: BLE001 - the stores may be away for a while
                self._tell("orphans", error)
            else:
                log.info("orphans.swept", **swept)

    def _went_well(self, loop: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a loop outlives whatever one round does
            self._tell(loop, error)
            return False
        return True

    def _tell(self, loop: str, error: Exception) -> None:
        # Only the kind: a driver's message repeats the statement and its values.
        log.error("upkeep.trouble", loop=loop, kind=type(error).__name__)


def _close(ears: Listener | None) -> None:
    if ears is not None:
        ears.close()
