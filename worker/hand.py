"""A hand: one lane's worker, whoever wakes it. It does one job at a time, and goes on until the table has no more.

In embedded mode a thread of its own listens to the database and works. In production a broker's message does, and the
same hand also looks on its own when nothing woke it for a while.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

import structlog

from core.domain.job import Lane
from core.persistence.database import JOBS_CHANNEL, Listener
from core.pulse import beat
from worker.deactivation import IDLE_SECONDS, DeactivationLane
from worker.slot import ComputeSlot

log = structlog.get_logger()
TROUBLE_SECONDS = 1.0


class Interval(Protocol):
    def __call__(self) -> float:
        """Return after how many seconds an idle hand looks on its own."""
        ...


class Hand:
    """One lane, and a lock that says whether it is at work."""

    def __init__(self, work: DeactivationLane | ComputeSlot, loop: str, stopping: threading.Event) -> None:
        """Take a lane in hand.

        Args:
            work: what to do.
            loop: its name among the loops of this process.
            stopping: set when the worker must end.
        """
        self.work, self.loop, self.stopping = work, loop, stopping
        self.free = threading.Lock()
        self.looked = 0.0
        work.beat = self.beat

    @property
    def lane(self) -> Lane:
        return self.work.lane

    def beat(self) -> None:
        """Leave a sign of life."""
        beat("worker", self.loop)

    def finish(self, job_id: str | None = None) -> None:
        """Work until nothing is left to do; the caller holds `free`. Trouble ends it too, until the next look."""
        try:
            while not self.stopping.is_set():
                if self.work.once(job_id):
                    job_id = None
                elif self.work.pause < IDLE_SECONDS:
                    self.stopping.wait(self.work.pause)
                else:
                    break
        except Exception as error:  # noqa: BLE001 - a hand outlives whatever one job does
            self._tell(error)
        finally:
            self.looked = time.monotonic()

    def try_to_finish(self, job_id: str | None = None) -> bool:
        """Work if the hand is free; return whether it was."""
        if not self.free.acquire(blocking=False):
            return False
        try:
            self.finish(job_id)
        finally:
            self.free.release()
        return True

    def listen(self) -> None:
        """Work whenever the database rings, and look every second; a lost database is waited for, not died of."""
        ears: Listener | None = None
        while not self.stopping.is_set():
            try:
                ears = ears or self.work.doors.database.listen(JOBS_CHANNEL)
                if not self.work.once():
                    self.beat()
                    ears.wait(self.work.pause)
            except Exception as error:  # noqa: BLE001 - see finish
                self._tell(error)
                if ears is not None:
                    ears.close()
                ears = None
                self.stopping.wait(TROUBLE_SECONDS)
        if ears is not None:
            ears.close()

    def poll(self, interval: Interval) -> None:
        """Look whenever nothing made this hand look for `interval()` seconds."""
        while not self.stopping.wait(min(interval(), IDLE_SECONDS)):
            if time.monotonic() - self.looked >= interval():
                self.try_to_finish()

    def _tell(self, error: Exception) -> None:
        # Only the kind: a driver's message repeats the statement and its values.
        log.error("worker.trouble", loop=self.loop, kind=type(error).__name__)
