"""The dispatcher of a production deployment: rings the broker for the jobs table, and does the upkeep. Torch-free.

    NOTIFY in a commit ──▶ LISTEN ──▶ ring at once, once a job
    every second              ──▶ ring for jobs that became claimable without a NOTIFY: retried, freed, postponed ones
    every LETHE_SWEEP_SECONDS ──▶ ring again for every job that nobody took

Losing a message costs a sweep, never a job. A queue that holds as many messages as there are jobs to claim is left
alone, so messages that nobody takes do not pile up. Two dispatchers side by side ring twice, which does no harm. A dead
broker stops the ringing only: upkeep and webhooks have threads of their own.
"""

from __future__ import annotations

import threading
import time

import structlog

from core.domain.job import Lane
from core.faults import reach
from core.persistence import bells
from core.persistence.database import JOBS_CHANNEL, Listener
from core.pulse import beat
from core.use_cases.doors import Doors
from worker.doorbell import Doorbell
from worker.loop import own_name
from worker.upkeep import Upkeep

log = structlog.get_logger()
LOOK_SECONDS = 1.0
MOST_MESSAGES = 200
"""Messages that may wait in one queue; workers take the most urgent job whichever message wakes them."""


class Ringer:
    """Rings for jobs that can be claimed, and remembers for which ones it did since the last sweep."""

    def __init__(self, doors: Doors, doorbell: Doorbell) -> None:
        """Keep what is needed; nothing is connected yet."""
        self.doors, self.doorbell = doors, doorbell
        self._rung: dict[Lane, set[tuple[str, int]]] = {lane: set() for lane in Lane}

    def ring(self, lane: Lane, *, again: bool = False) -> int:
        """Ring for every claimable job of a lane that was not rung for, or for all of them again; return how often.

        Raises:
            sqlalchemy.exc.DBAPIError: the database does not answer.
            BrokerGone: the broker does not answer; the next sweep repeats what was missed.
        """
        with self.doors.database.transaction() as session:
            claimable = bells.claimable(session, lane, MOST_MESSAGES)
        known = set() if again else self._rung[lane]
        fresh = [job for job in claimable if job not in known]
        # Forget those that were claimed meanwhile: under their next fence they are rung for anew.
        self._rung[lane] = known.intersection(claimable)
        if not fresh:
            return 0
        try:
            room = len(claimable) - self.doorbell.depth(lane)
            for job in fresh[: max(0, room)]:
                reach("before_ring")
                self.doorbell.ring(lane, job[0])
                reach("after_ring")
                self._rung[lane].add(job)
        except Exception as error:  # noqa: BLE001 - each transport has errors of its own
            self.doorbell.hang_up()
            raise BrokerGone(type(error).__name__) from None
        return min(len(fresh), max(0, room))


class BrokerGone(Exception):
    """The broker did not take a message; the argument is the kind of its error."""


class Dispatcher:
    """One dispatcher process."""

    def __init__(self, doors: Doors) -> None:
        """Start nothing yet."""
        self.doors = doors
        self.name = own_name("dispatcher")
        self.stopping = threading.Event()
        self._swept = float("-inf")
        self._answers = True

    def run(self) -> None:
        """Work until `stop` is called."""
        threads = [threading.Thread(target=self._ring, name="bell")]
        threads += Upkeep(self.doors, "dispatcher", self.name, self.stopping).threads()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self.stopping.set()

    def _ring(self) -> None:
        ringer = Ringer(self.doors, Doorbell(self.doors.settings))
        ears: Listener | None = None
        while not self.stopping.is_set():
            try:
                if ears is None:
                    ears = self.doors.database.listen(JOBS_CHANNEL)
                    self._swept = float("-inf")  # whatever rang while nobody listened
                self._ring_once(ringer)
                beat("dispatcher", "bell")
                ears.wait(LOOK_SECONDS)
            except Exception as error:  # noqa: BLE001 - a loop outlives whatever one round does
                log.error("dispatcher.trouble", kind=type(error).__name__)
                if ears is not None:
                    ears.close()
                ears = None
                self.stopping.wait(LOOK_SECONDS)
        if ears is not None:
            ears.close()
        ringer.doorbell.hang_up()

    def _ring_once(self, ringer: Ringer) -> None:
        now = time.monotonic()
        again = now - self._swept >= self.doors.settings.sweep_seconds
        try:
            for lane in Lane:  # deactivations first
                ringer.ring(lane, again=again)
        except BrokerGone as gone:
            # Workers poll meanwhile; it is asked again at once only when there is something new to ring for.
            self._tell(answers=False, kind=str(gone))
            self.stopping.wait(LOOK_SECONDS)
            return
        self._tell(answers=True)
        if again:
            self._swept = now

    def _tell(self, *, answers: bool, kind: str | None = None) -> None:
        if answers != self._answers:
            log.warning("dispatcher.broker", answers=answers, kind=kind)
            self._answers = answers
