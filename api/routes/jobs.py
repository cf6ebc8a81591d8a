"""Jobs: what runs, what waits, what became of it; and how to stop a training."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, MaybeKey, answered, needs, once
from api.schemas.answers import FullJob, Job
from api.schemas.common import Page
from core.domain.access import Scope
from core.domain.job import JobKind, JobState
from core.use_cases.cancel_job import cancel_job
from core.use_cases.read_jobs import read_job, read_jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_READS = [needs(Scope.JOBS_READ)]


@router.get("", response_model=Page[Job], dependencies=_READS, summary="List jobs, newest first")
def list_jobs(
    caller: Caller,
    doors: DoorsDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: JobState | None = None,
    kind: JobKind | None = None,
    model: str | None = None,
    request: str | None = None,
) -> dict[str, Any]:
    filters = {"state": state, "kind": kind, "model_id": model, "request_id": request}
    return read_jobs(caller=caller, doors=doors, limit=limit, cursor=cursor, filters=filters)


@router.get("/{job_id}", response_model=FullJob, dependencies=_READS, summary="Look at one job and its attempts")
def get_job(job_id: str, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return read_job(job_id, caller=caller, doors=doors)


@router.post(
    "/{job_id}:cancel",
    response_model=Job,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Stop a job that trains",
)
def cancel(job_id: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    """End a job that waits; one that runs is stopped within a quarter of its lease (`cancel_requested` until then)."""
    once_key = once("POST /v1/jobs/{id}:cancel", key, job_id.encode())
    return answered(response, cancel_job(job_id, caller=caller, once=once_key, doors=doors))
