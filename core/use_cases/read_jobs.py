"""Show jobs: what runs, what waits, and what became of every attempt."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.domain.access import Caller, Scope
from core.domain.errors import JobNotFound
from core.persistence import job_questions
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_jobs(
    *, caller: Caller, doors: Doors, limit: int, cursor: str | None, filters: dict[str, Any]
) -> dict[str, Any]:
    """Return a page of jobs, newest first. Filters: state, kind, lane, model_id, request_id."""
    caller.require(Scope.JOBS_READ)
    after = read_cursor(cursor, of="jobs", filters=filters)
    with doors.database.transaction() as session:
        rows = job_questions.list_jobs(session, caller.tenant_id, limit=limit + 1, after=after, **filters)
    return page([describe_job(row) for row in rows], of="jobs", limit=limit, filters=filters)


def read_job(job_id: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one job with its attempts.

    Raises:
        JobNotFound: the tenant has none such.
    """
    caller.require(Scope.JOBS_READ)
    with doors.database.transaction() as session:
        row = job_questions.find_job(session, caller.tenant_id, job_id)
        if row is None:
            raise JobNotFound
        attempts = job_questions.attempts_of(session, job_id)
    return describe_job(row) | {
        "attempts": [
            {
                "fence": one.fence,
                "worker": one.worker,
                "outcome": one.outcome,
                "error_code": one.error_code,
                "seconds": None if one.ended_at is None else round((one.ended_at - one.started_at).total_seconds(), 3),
                "peak_memory_bytes": one.peak_memory_bytes,
                "started_at": moment(one.started_at),
                "ended_at": moment(one.ended_at),
            }
            for one in attempts
        ]
    }


def describe_job(row: Row[Any]) -> dict[str, Any]:
    """Return a job as the API shows it."""
    return {
        "id": row.id,
        "object": "job",
        "kind": row.kind,
        "lane": row.lane,
        "subject": row.subject,
        "model": row.model_id,
        "request": row.request_id,
        "state": row.state,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "cancel_requested": row.cancel_requested,
        "progress": row.progress,
        "error_code": row.error_code,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
    }
