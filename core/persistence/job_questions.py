"""Questions about jobs that lock nothing and change nothing: what is open, what a request came to, lists for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select

from core.domain.job import JobKind, JobState, Lane
from core.persistence.jobs import job_attempts, jobs
from core.persistence.tables import among


def open_subjects(session: Connection, subjects: Iterable[str]) -> set[str]:
    """Return which of these computations wait or are at work right now."""
    query = select(jobs.c.subject).where(
        among(jobs.c.subject, list(subjects)),
        jobs.c.lane == Lane.COMPUTE,
        jobs.c.state.in_([JobState.WAITING, JobState.RUNNING]),
    )
    return set(session.execute(query).scalars())


def is_open(session: Connection, model_id: str, prefix: str) -> bool:
    """Whether a computation of a model waits or runs whose subject begins so."""
    query = select(1).where(
        jobs.c.lane == Lane.COMPUTE,
        jobs.c.state.in_([JobState.WAITING, JobState.RUNNING]),
        jobs.c.model_id == model_id,
        jobs.c.subject.startswith(prefix, autoescape=True),
    )
    return session.execute(query.limit(1)).first() is not None


def shards_at_work(session: Connection, model_id: str, *, at_least: int) -> set[int]:
    """Return the shards of a model that have a computation of at least that priority waiting or running."""
    query = select(func.split_part(jobs.c.subject, "/", 2)).where(
        jobs.c.model_id == model_id,
        jobs.c.kind.in_([JobKind.TRAIN_SHARD, JobKind.TRAIN_NODE]),
        jobs.c.state.in_([JobState.WAITING, JobState.RUNNING]),
        jobs.c.priority >= at_least,
    )
    return {int(shard) for shard in session.execute(query.distinct()).scalars()}


def find_job(session: Connection, tenant_id: str, job_id: str) -> Row[Any] | None:
    return session.execute(select(jobs).where(jobs.c.tenant_id == tenant_id, jobs.c.id == job_id)).first()


def attempts_of(session: Connection, job_id: str) -> list[Row[Any]]:
    query = select(job_attempts).where(job_attempts.c.job_id == job_id)
    return list(session.execute(query.order_by(job_attempts.c.fence)))


def work_of_request(session: Connection, request_id: str) -> list[Row[Any]]:
    """Return the newest job for each model of a request; one that gave up counts no more once it was retried."""
    newest = {job.subject: job for job in jobs_of_request(session, request_id)}
    return list(newest.values())


def jobs_of_request(session: Connection, *request_ids: str) -> list[Row[Any]]:
    # By the database's clock: identifiers tell the time of whichever machine made them, and those may differ.
    query = select(jobs).where(among(jobs.c.request_id, request_ids))
    return list(session.execute(query.order_by(jobs.c.created_at, jobs.c.id)))


def list_jobs(session: Connection, tenant_id: str, *, limit: int, after: str | None, **filters: Any) -> list[Row[Any]]:
    """Return jobs, newest first; `after` is the id that the last page ended with."""
    query = select(jobs).where(jobs.c.tenant_id == tenant_id)
    for column, value in filters.items():
        if value is not None:
            query = query.where(jobs.c[column] == value)
    if after is not None:
        query = query.where(jobs.c.id < after)
    return list(session.execute(query.order_by(jobs.c.id.desc()).limit(limit)))


def count_open(session: Connection, model_id: str) -> dict[str, int]:
    """Return how many of a model's jobs are in each state that is not an end."""
    open_states = (JobState.WAITING, JobState.RUNNING, JobState.VERIFYING)
    query = (
        select(jobs.c.state, func.count().label("jobs"))
        .where(jobs.c.model_id == model_id, jobs.c.state.in_(open_states))
        .group_by(jobs.c.state)
    )
    counted = {row.state: int(row.jobs) for row in session.execute(query)}
    return {state.value: counted.get(state.value, 0) for state in open_states}
