"""Jobs: what runs, what waits, what became of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, needs
from api.schemas.answers import FullJob, Job
from api.schemas.common import Page
from core.domain.access import Scope
from core.domain.job import JobKind, JobState
from core.use_cases.read_jobs import read_job, read_jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[needs(Scope.JOBS_READ)])


@router.get("", response_model=Page[Job], summary="List jobs, newest first")
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


@router.get("/{job_id}", response_model=FullJob, summary="Look at one job and its attempts")
def get_job(job_id: str, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return read_job(job_id, caller=caller, doors=doors)
