"""The deactivate lane: switches slices off and certifies, in this process, within milliseconds of the bell. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.domain.errors import LetheError, StaleFence
from core.domain.job import JobEvent, JobState, Lane
from core.faults import reach
from core.logging import about
from core.persistence import jobs
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import Doors
from core.use_cases.look_after import give_back

log = structlog.get_logger()
IDLE_SECONDS = 1.0
"""How long to wait without a bell before the next look."""
IMPATIENT_SECONDS = 0.02
"""How long while a deletion waits for predictors to follow."""
IMPATIENT_FOR_SECONDS = 0.3
"""Predictors follow within that, or take longer; a deletion that is put off for longer is not waited for like this."""


class DeactivationLane:
    """Runs one job after another."""

    lane = Lane.DEACTIVATE

    def __init__(self, doors: Doors, name: str) -> None:
        """Keep what is needed; `name` is the worker's, as the jobs table will tell it."""
        self.doors, self.name = doors, name
        self.beat: Callable[[], None] = lambda: None
        self._impatient_until = 0.0

    @property
    def pause(self) -> float:
        """Seconds to wait after `once` found nothing."""
        return IMPATIENT_SECONDS if time.monotonic() < self._impatient_until else IDLE_SECONDS

    def once(self, job_id: str | None = None) -> bool:
        """Run the job of that name, or the most urgent one, as far as it goes now; False when there is none."""
        job = self._claim(job_id)
        if job is None:
            return False
        reach("after_claim")
        with about(job_id=job.id, deletion_request=job.request_id, model=job.model_id):
            self._run(job)
        return True

    def _run(self, job: Row[Any]) -> None:
        try:
            if job.state == JobState.RUNNING:
                deactivate_slices(job, doors=self.doors)
            if not conclude_deletion(job, doors=self.doors):
                self._impatient_until = time.monotonic() + IMPATIENT_FOR_SECONDS
        except StaleFence:
            pass
        except (LetheError, DBAPIError, OSError) as error:
            log.error("deactivation.trouble", kind=type(error).__name__)
            self._give_back(job, type(error).__name__)

    def close(self) -> None:
        """There is nothing to close: each job ended with its transactions."""

    def _claim(self, job_id: str | None) -> Row[Any] | None:
        lease = self.doors.settings.deactivation_lease_seconds
        try:
            with self.doors.database.transaction() as session:
                job = jobs.claim(session, lane=self.lane, worker=self.name, lease=lease, job_id=job_id)
        except IntegrityError:
            return None  # somebody else took a job of the same model at the same moment
        self.beat()
        return job

    def _give_back(self, job: Row[Any], error_code: str) -> None:
        """Let go of a job that met trouble: one that switched slices off already is certified a little later."""
        with self.doors.database.transaction() as session:
            held = jobs.hold(session, job.id, job.fence)
            if held.state == JobState.VERIFYING:
                jobs.postpone(session, held, seconds=1.0)
            else:
                give_back(session, held, JobEvent.RETRY, error_code)
