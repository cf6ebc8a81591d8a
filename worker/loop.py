"""The worker: two lanes side by side, and a round of upkeep. Torch-free and always warm.

The *deactivate* lane runs jobs in this process, one after another, within milliseconds of the bell. The *compute* lane
gives each job to a subprocess (`Runner`), renews its lease, and kills it the moment the lease is lost. The bell is only
a hint: both lanes also look on their own.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.domain.errors import LetheError, StaleFence
from core.domain.job import JobEvent, JobState, Lane
from core.faults import reach
from core.persistence import jobs
from core.persistence.database import JOBS_CHANNEL, VERSIONS_CHANNEL, Listener
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import Doors
from core.use_cases.look_after import (
    certify_repaired,
    destroy_abandoned_drafts,
    free_expired_jobs,
    give_back,
    sign_checkpoint_if_grown,
)
from worker.runner import Runner

log = structlog.get_logger()
IDLE_SECONDS = 1.0
"""How long a lane sleeps without a bell before it looks on its own."""
IMPATIENT_SECONDS = 0.02
"""How long it sleeps while a deletion waits for predictors to follow."""


class Worker:
    """One worker process: its lanes are threads, its training runs in subprocesses."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.name = f"worker-{socket.gethostname()}-{os.getpid()}".replace(" ", "-")[:100]
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until `stop` is called."""
        lanes = [
            threading.Thread(target=self._lane, args=(self._deactivate_once, JOBS_CHANNEL), name="deactivate"),
            threading.Thread(target=self._lane, args=(self._upkeep_once, VERSIONS_CHANNEL), name="upkeep"),
            threading.Thread(target=self._compute_lane, name="compute"),
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def stop(self) -> None:
        self.stopping.set()

    def _lane(self, once: Callable[[], float], channel: str) -> None:
        """Repeat `once`, which says for how long to listen; a lost database is waited for, not died of."""
        ears: Listener | None = None
        while not self.stopping.is_set():
            try:
                ears = ears or self.doors.database.listen(channel)
                seconds = once()
                if seconds:
                    ears.wait(seconds)
            except Exception as error:  # noqa: BLE001 - a lane outlives whatever one job does
                # Only the kind: a driver's message repeats the statement and its values.
                log.error("worker.trouble", lane=threading.current_thread().name, kind=type(error).__name__)
                ears = None
                self.stopping.wait(IDLE_SECONDS)

    def _claim(self, lane: Lane, lease: float) -> Row[Any] | None:
        try:
            with self.doors.database.transaction() as session:
                return jobs.claim(session, lane=lane, worker=self.name, lease=lease)
        except IntegrityError:
            return None  # somebody else took a job of the same model at the same moment

    def _deactivate_once(self) -> float:
        """Run one job of the deactivate lane; return for how long to listen before the next look."""
        job = self._claim(Lane.DEACTIVATE, self.doors.settings.deactivation_lease_seconds)
        if job is None:
            return IDLE_SECONDS
        reach("after_claim")
        try:
            if job.state == JobState.RUNNING:
                deactivate_slices(job, doors=self.doors)
            return 0.0 if conclude_deletion(job, doors=self.doors) else IMPATIENT_SECONDS
        except StaleFence:
            return 0.0
        except (LetheError, DBAPIError, OSError) as error:
            log.error("deactivation.trouble", job_id=job.id, kind=type(error).__name__)
            self._give_back(job, type(error).__name__)
            return IMPATIENT_SECONDS

    def _give_back(self, job: Row[Any], error_code: str) -> None:
        """Let go of a job that met trouble: one that switched slices off already is certified a little later."""
        with self.doors.database.transaction() as session:
            held = jobs.hold(session, job.id, job.fence)
            if held.state == JobState.VERIFYING:
                jobs.postpone(session, held, seconds=1.0)
            else:
                give_back(session, held, JobEvent.RETRY, error_code)

    def _upkeep_once(self) -> float:
        free_expired_jobs(self.doors)
        destroy_abandoned_drafts(self.doors)
        certify_repaired(self.doors, self.name)
        if time.monotonic() - getattr(self, "_signed", 0.0) > self.doors.settings.checkpoint_seconds:
            sign_checkpoint_if_grown(self.doors)
            self._signed = time.monotonic()
        return IDLE_SECONDS

    def _compute_lane(self) -> None:
        settings = self.doors.settings
        runners = [Runner() for _ in range(settings.compute_slots)]
        ears: Listener | None = None
        while not self.stopping.is_set():
            try:
                ears = ears or self.doors.database.listen(JOBS_CHANNEL)
                for runner in runners:
                    self._tend(runner)
                ears.wait(0.25 if any(runner.job for runner in runners) else IDLE_SECONDS)
            except Exception as error:  # noqa: BLE001 - see _lane
                log.error("worker.trouble", lane="compute", kind=type(error).__name__)
                ears = None
                self.stopping.wait(IDLE_SECONDS)
        for runner in runners:
            runner.close()

    def _tend(self, runner: Runner) -> None:
        """Give an idle runner a job; renew the lease of a busy one, or kill it; note how a finished one ended."""
        lease = self.doors.settings.lease_seconds
        if runner.job is None:
            job = self._claim(Lane.COMPUTE, lease)
            if job is not None:
                runner.start(job)
            return
        ended = runner.ended()
        if ended is not None:
            self._note_end(runner.release(), ended)
            self._tend(runner)
        elif runner.renewal_due(lease / 4):
            with self.doors.database.transaction() as session:
                kept = jobs.renew(session, runner.job.id, runner.job.fence, lease)
            if not kept:
                log.warning("compute.lease_lost", job_id=runner.job.id)
                runner.kill()
                runner.release()

    def _note_end(self, job: Row[Any], code: int) -> None:
        """A runner concludes its own job; if it died first, its job goes back into the lane or ends."""
        try:
            with self.doors.database.transaction() as session:
                held = jobs.hold(session, job.id, job.fence)
                cause = f"killed_by_signal_{-code}" if code < 0 else f"exit_{code}"
                give_back(session, held, JobEvent.RETRY, held.error_code or cause)
        except StaleFence:
            return
