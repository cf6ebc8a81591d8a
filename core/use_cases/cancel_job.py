"""Stop a training job that nobody wants any more: at once while it waits, at its worker's next renewal while it runs.

A deletion is stopped by its request, which is a legal duty with rules of its own.
"""

from __future__ import annotations

from sqlalchemy import Connection

from core.domain.access import Caller, Scope
from core.domain.errors import JobNotCancellable, JobNotFound
from core.domain.job import JobEvent, JobState, Lane
from core.persistence import jobs
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.look_after import end_badly
from core.use_cases.read_jobs import describe_job


def cancel_job(job_id: str, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Cancel a job of the compute lane, or ask its worker to stop it, and answer with it.

    Raises:
        JobNotFound: the tenant has none such.
        JobNotCancellable: it has ended, or it belongs to a deletion request.
        IdempotencyKeyReused: the key was used for another job.
    """
    caller.require(Scope.MODELS_WRITE)

    def cancel(session: Connection) -> Answer:
        held = jobs.lock_job(session, caller.tenant_id, job_id)
        if held is None:
            raise JobNotFound
        if held.lane == Lane.DEACTIVATE:
            raise JobNotCancellable(
                "this job carries out a deletion request; cancel that: POST /v1/deletion-requests/{id}:cancel"
            )
        if held.state == JobState.WAITING:
            end_badly(session, held, JobEvent.CANCELLED, jobs.CANCELLED)
        elif held.state == JobState.RUNNING:
            jobs.request_cancel(session, held)
        else:
            raise JobNotCancellable(f"the job is {held.state}")
        row = jobs.lock_job(session, caller.tenant_id, job_id)
        return Answer(status=200, body=describe_job(row or held))

    return answer_once(doors, caller, once, cancel)
