"""One compute slot: claims a job, hands it to a subprocess, keeps its lease, and takes the next one nearby.

    claim ──▶ give to the warm runner ──▶ follow it ──▶ claim, near the last one ──▶ give to the same runner …
                                            │ every quarter of the lease: renew, on the database's time
                                            ├─ lease lost, or cancelled: the process group is killed at once
                                            ├─ it died: its job goes back into the lane, with the cause of death
                                            └─ the worker stops: it is ended, and its job handed back uncounted

Jobs of one shard of one model are near each other: they read the same rows, which the runner's bench keeps. Another
shard of the model finds the bench cleared and torch loaded; another model gets a fresh process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.domain.errors import StaleFence
from core.domain.job import JobEvent, Lane
from core.persistence import jobs
from core.persistence.jobs import RenewalAnswer
from core.use_cases.doors import Doors
from core.use_cases.look_after import give_back
from worker.runner import Death, Runner

log = structlog.get_logger()
LONGEST_UNASKED_SECONDS = 2.0
"""A lease is renewed at a quarter of its length, and at least this often: the same question says whether to cancel."""
LOOK_SECONDS = 0.25
WARM_SECONDS = 60.0


class ComputeSlot:
    """At most one job in work, one process for it, and one warm process in reserve."""

    lane = Lane.COMPUTE
    pause = 1.0
    """Seconds to wait after `once` found nothing."""

    def __init__(self, doors: Doors, name: str, stopping: threading.Event, device: str | None = None) -> None:
        """Start the process in reserve.

        Args:
            doors: where the jobs are.
            name: of the worker, as the jobs table will tell it.
            stopping: set when the worker must end.
            device: the GPU of this slot, as CUDA_VISIBLE_DEVICES names it.
        """
        self.doors, self.name, self.stopping, self.device = doors, name, stopping, device
        self.beat: Callable[[], None] = lambda: None
        self._reserve = Runner(device)
        self._runner: Runner | None = None
        self._cold_until = 0.0

    def once(self, job_id: str | None = None) -> bool:
        """Do the job of that name, or the most urgent one, and then those near it; False when there is none."""
        if not self._is_warm():
            return False
        job = self._claim(job_id=job_id)
        if job is None:
            return False
        runner = self._runner = self._take_reserve()
        try:
            while self._see_through(runner, job) and not self.stopping.is_set():
                following = self._claim(near=nearby(job))
                if following is None:
                    break
                if following.model_id != job.model_id:
                    # One process sees one model's rows; for another shard of it, loading torch again buys nothing.
                    runner.kill()
                    runner = self._runner = self._take_reserve()
                job = following
        finally:
            # It has no job any more: either it said that it is done, or whoever tries next is fenced off from it.
            runner.kill()
            self._runner = None
        return True

    def close(self) -> None:
        for runner in (self._runner, self._reserve):
            if runner is not None:
                runner.kill()

    def _is_warm(self) -> bool:
        """Whether a process waits with torch loaded: one that cannot start must not use up the attempts of jobs."""
        if time.monotonic() < self._cold_until:
            return False
        give_up = time.monotonic() + WARM_SECONDS
        while not self._reserve.warm(LOOK_SECONDS):
            self.beat()
            dead = self._reserve.death()
            if dead is not None:
                log.error("compute.does_not_start", cause=dead.cause)
                self._reserve = Runner(self.device)
                self._cold_until = time.monotonic() + self.pause
                return False
            if self.stopping.is_set() or time.monotonic() > give_up:
                return False
        return True

    def _take_reserve(self) -> Runner:
        taken, self._reserve = self._reserve, Runner(self.device)
        return taken

    def _claim(self, **wish: Any) -> Row[Any] | None:
        lease = self.doors.settings.lease_seconds
        try:
            with self.doors.database.transaction() as session:
                job = jobs.claim(session, lane=self.lane, worker=self.name, lease=lease, **wish)
        except IntegrityError:
            return None  # somebody else took a job of the same subject at the same moment
        self.beat()
        return job

    def _see_through(self, runner: Runner, job: Row[Any]) -> bool:
        """Follow a job to its end, whichever it is; return whether the process is fit for another."""
        lease = self.doors.settings.lease_seconds
        kept = asked = time.monotonic()
        runner.give(job)
        while not runner.follow(job, LOOK_SECONDS):
            dead = runner.death()
            if dead is not None:
                self._note_death(job, dead)
                return False
            if self.stopping.is_set():
                runner.end()
                self._hand_back(job)
                return False
            now = time.monotonic()
            if now - asked >= min(lease / 4, LONGEST_UNASKED_SECONDS):
                asked = now
                answer = self._renew(job, lease)
                if answer is RenewalAnswer.KEPT:
                    kept = now
                elif answer not in {None, RenewalAnswer.ENDED} or now - kept > lease:
                    log.warning("compute.stopped", job_id=job.id, why=str(answer or "unconfirmed"))
                    runner.kill()
                    self._bury(job, answer)
                    return False
        return True

    def _renew(self, job: Row[Any], lease: float) -> RenewalAnswer | None:
        """Return the database's answer; None when it gives none."""
        try:
            with self.doors.database.transaction() as session:
                answer = jobs.renew(session, job.id, job.fence, lease)
        except DBAPIError as error:
            log.warning("compute.not_renewed", job_id=job.id, kind=type(error).__name__)
            return None
        self.beat()
        return answer

    def _note_death(self, job: Row[Any], death: Death) -> None:
        """Give back the job of a process that died; one that concluded its job first has nothing to give back."""
        log.warning("compute.died", job_id=job.id, cause=death.cause, peak_memory_bytes=death.peak_memory_bytes)

        def note(session: Any) -> None:
            held = jobs.hold(session, job.id, job.fence)
            cause = held.error_code or death.cause
            give_back(session, held, JobEvent.RETRY, cause, peak_memory_bytes=death.peak_memory_bytes)

        self._settle(job, note)

    def _hand_back(self, job: Row[Any]) -> None:
        """Put a job back that was stopped with its worker: it waits again, and the attempt is not counted."""

        def note(session: Any) -> None:
            jobs.hand_back(session, jobs.hold(session, job.id, job.fence))

        self._settle(job, note)

    def _settle(self, job: Row[Any], note: Callable[[Any], None]) -> None:
        try:
            with self.doors.database.transaction() as session:
                note(session)
        except StaleFence:
            return
        except DBAPIError as error:
            # Then its lease runs out, and the reaper does it.
            log.error("compute.not_settled", job_id=job.id, kind=type(error).__name__)

    def _bury(self, job: Row[Any], answer: RenewalAnswer | None) -> None:
        """Note that a cancelled job has stopped."""
        if answer is not RenewalAnswer.CANCELLED:
            return

        def note(session: Any) -> None:
            held = jobs.hold(session, job.id, job.fence)
            give_back(session, held, JobEvent.CANCELLED, jobs.CANCELLED)

        self._settle(job, note)


def nearby(job: Row[Any]) -> str:
    """Return the subject prefix that jobs of the same model and shard share."""
    model, _, rest = job.subject.partition("/")
    shard, deeper, _ = rest.partition("/")
    return f"{model}/{shard}/" if deeper else f"{job.subject}/"
