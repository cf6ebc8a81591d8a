"""Jobs: the table is the queue. Claims, leases and fences are single statements on the database's clock.

Two partial indexes keep the promise of the two lanes: one running deactivation per model, one running computation per
subject. A claim raises the fence; every later write names the fence it works under, so a worker that was paused and
replaced can do no harm.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    and_,
    case,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.errors import StaleFence
from core.domain.job import JobEvent, JobKind, JobState, Lane, advance
from core.persistence import audit
from core.persistence.database import JOBS_CHANNEL, notify
from core.persistence.tables import json_column, metadata, one_of, tenant_column, time_column

jobs = Table(
    "jobs",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("model_id", Text, nullable=True),
    Column("request_id", Text, nullable=True),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("attempt", Integer, nullable=False, default=0),
    Column("max_attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("worker", Text, nullable=True),
    time_column("lease_until", nullable=True),
    time_column("run_after"),
    json_column("progress", nullable=True),
    Column("error_code", Text, nullable=True),
    time_column("created_at"),
    time_column("started_at", nullable=True),
    time_column("finished_at", nullable=True),
    one_of("kind", JobKind),
    one_of("lane", Lane),
    one_of("state", JobState),
    Index(
        "jobs_one_deactivation_per_model",
        "model_id",
        unique=True,
        postgresql_where=text("lane = 'deactivate' AND state = 'running'"),
    ),
    Index(
        "jobs_one_computation_per_subject",
        "subject",
        unique=True,
        postgresql_where=text("lane = 'compute' AND state = 'running'"),
    ),
    Index(
        "jobs_one_waiting_per_subject",
        "subject",
        unique=True,
        postgresql_where=text("lane = 'compute' AND state = 'waiting'"),
    ),
    Index("jobs_open", "lane", "run_after", postgresql_where=text("state IN ('waiting', 'running', 'verifying')")),
    Index("jobs_by_request", "request_id"),
    Index("jobs_by_model", "model_id", "created_at"),
)

job_attempts = Table(
    "job_attempts",
    metadata,
    tenant_column(),
    Column("job_id", Text, primary_key=True),
    Column("fence", BigInteger, primary_key=True),
    Column("worker", Text, nullable=False),
    time_column("started_at"),
    time_column("ended_at", nullable=True),
    Column("outcome", Text, nullable=True),
)


ENTRIES = {
    JobEvent.CLAIMED: Action.JOB_CLAIMED,
    JobEvent.UNLEARNED: Action.JOB_UNLEARNED,
    JobEvent.CONCLUDED: Action.JOB_DONE,
    JobEvent.LEASE_LOST: Action.JOB_LEASE_LOST,
    JobEvent.RETRY: Action.JOB_RETRIED,
    JobEvent.FAILED: Action.JOB_FAILED,
    JobEvent.GAVE_UP: Action.JOB_DEAD,
}


def add_job(session: Connection, **values: Any) -> bool:
    """Put a job in its lane and ring the bell; return False when the same computation waits there already."""
    lane = JobKind(values["kind"]).lane
    done = insert(jobs).values(**values, lane=lane, state=JobState.WAITING).on_conflict_do_nothing()
    notify(session, JOBS_CHANNEL, lane)
    fresh = session.execute(done).rowcount == 1
    if fresh:
        audit.note(
            session,
            Action.JOB_CREATED,
            tenant=values["tenant_id"],
            object=values["id"],
            after=JobState.WAITING,
            model=values.get("model_id"),
            request=values.get("request_id"),
        )
    return fresh


def claim(session: Connection, *, lane: Lane, worker: str, lease: float) -> Row[Any] | None:
    """Take the most urgent job of a lane, under a new fence; None when there is none.

    Raises:
        sqlalchemy.exc.IntegrityError: another worker took a job of the same model or subject at the same moment.
    """
    now = func.clock_timestamp()
    busy = jobs.alias()
    same = busy.c.model_id == jobs.c.model_id if lane is Lane.DEACTIVATE else busy.c.subject == jobs.c.subject
    blocked = select(1).where(busy.c.lane == lane, busy.c.state == JobState.RUNNING, same).exists()
    orphaned = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < now)
    claimable = or_(
        and_(jobs.c.state == JobState.WAITING, ~blocked), and_(jobs.c.state == JobState.VERIFYING, orphaned)
    )
    next_one = (
        select(jobs.c.id)
        .where(jobs.c.lane == lane, jobs.c.run_after <= now, claimable)
        .order_by(jobs.c.priority.desc(), jobs.c.run_after, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    waiting = jobs.c.state == JobState.WAITING
    taken = (
        update(jobs)
        .where(jobs.c.id == next_one)
        .values(
            state=case((waiting, JobState.RUNNING.value), else_=jobs.c.state),
            attempt=jobs.c.attempt + case((waiting, 1), else_=0),
            fence=jobs.c.fence + 1,
            worker=worker,
            lease_until=now + timedelta(seconds=lease),
            started_at=func.coalesce(jobs.c.started_at, now),
        )
        .returning(jobs)
    )
    job = session.execute(taken).first()
    if job is not None:
        session.execute(
            insert(job_attempts).values(tenant_id=job.tenant_id, job_id=job.id, fence=job.fence, worker=worker)
        )
        if job.state == JobState.RUNNING:
            _note(session, job, JobEvent.CLAIMED, JobState.WAITING, JobState.RUNNING)
    return job


def hold(session: Connection, job_id: str, fence: int) -> Row[Any]:
    """Lock the job for this transaction, if this fence still owns it.

    Raises:
        StaleFence: it was taken over, ended or cancelled meanwhile.
    """
    job = session.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    if job is None or job.fence != fence or job.state not in (JobState.RUNNING, JobState.VERIFYING):
        raise StaleFence
    return job


def renew(session: Connection, job_id: str, fence: int, lease: float) -> bool:
    """Prolong the lease; False means that it is lost and the work must stop at once."""
    done = session.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state.in_([JobState.RUNNING, JobState.VERIFYING]))
        .values(lease_until=func.clock_timestamp() + timedelta(seconds=lease))
    )
    return done.rowcount == 1


def move(session: Connection, job: Row[Any], event: JobEvent, **values: Any) -> JobState:
    """Move a held job along its table of moves.

    Raises:
        IllegalMove: the table has no such move.
    """
    state = advance(JobState(job.state), event)
    ended = state in (JobState.DONE, JobState.FAILED, JobState.DEAD)
    if ended:
        values["finished_at"] = func.clock_timestamp()
    if ended or state is JobState.WAITING:
        values |= {"lease_until": None, "worker": None}
    session.execute(update(jobs).where(jobs.c.id == job.id).values(state=state, **values))
    _note(session, job, event, JobState(job.state), state)
    if ended or state is JobState.WAITING:
        end_attempt(session, job, event)
    return state


def _note(session: Connection, job: Row[Any], event: JobEvent, before: JobState, after: JobState) -> None:
    audit.note(
        session,
        ENTRIES[event],
        tenant=job.tenant_id,
        object=job.id,
        before=before,
        after=after,
        fence=job.fence,
        request=job.request_id,
    )


def end_attempt(session: Connection, job: Row[Any], outcome: str) -> None:
    session.execute(
        update(job_attempts)
        .where(job_attempts.c.job_id == job.id, job_attempts.c.fence == job.fence)
        .values(ended_at=func.clock_timestamp(), outcome=str(outcome))
    )


def soon(seconds: float) -> Any:
    """Return the database's time a little later."""
    return func.clock_timestamp() + timedelta(seconds=seconds)


def postpone(session: Connection, job: Row[Any], seconds: float) -> None:
    """Let go of a job that is verifying, to be looked at again after `seconds`."""
    session.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(run_after=func.clock_timestamp() + timedelta(seconds=seconds), lease_until=None, worker=None)
    )
    end_attempt(session, job, "postponed")


def report_progress(session: Connection, job_id: str, fence: int, progress: dict[str, Any]) -> None:
    session.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.fence == fence).values(progress=progress))


def next_expired(session: Connection) -> Row[Any] | None:
    """Return a running job whose lease ran out, locked, leaving those that somebody else looks at."""
    query = select(jobs).where(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < func.clock_timestamp())
    return session.execute(query.limit(1).with_for_update(skip_locked=True)).first()


def has_successor(session: Connection, job: Row[Any]) -> bool:
    """Whether another job for the same computation waits; a deletion that overtook this one put it there."""
    query = select(1).where(
        jobs.c.lane == Lane.COMPUTE, jobs.c.subject == job.subject, jobs.c.state == JobState.WAITING
    )
    return job.lane == Lane.COMPUTE and session.execute(query).first() is not None


def find_job(session: Connection, tenant_id: str, job_id: str) -> Row[Any] | None:
    return session.execute(select(jobs).where(jobs.c.tenant_id == tenant_id, jobs.c.id == job_id)).first()


def attempts_of(session: Connection, job_id: str) -> list[Row[Any]]:
    query = select(job_attempts).where(job_attempts.c.job_id == job_id)
    return list(session.execute(query.order_by(job_attempts.c.fence)))


def work_of_request(session: Connection, request_id: str) -> list[Row[Any]]:
    """Return the newest job for each model of a request; one that gave up counts no more once it was retried."""
    newest = {job.subject: job for job in jobs_of_request(session, request_id)}
    return list(newest.values())


def jobs_of_request(session: Connection, request_id: str) -> list[Row[Any]]:
    return list(session.execute(select(jobs).where(jobs.c.request_id == request_id).order_by(jobs.c.id)))


def list_jobs(session: Connection, tenant_id: str, *, limit: int, after: str | None, **filters: Any) -> list[Row[Any]]:
    """Return jobs, newest first; `after` is the id that the last page ended with."""
    query = select(jobs).where(jobs.c.tenant_id == tenant_id)
    for column, value in filters.items():
        if value is not None:
            query = query.where(jobs.c[column] == value)
    if after is not None:
        query = query.where(jobs.c.id < after)
    return list(session.execute(query.order_by(jobs.c.id.desc()).limit(limit)))


def open_computations(session: Connection, model_id: str) -> int:
    query = select(func.count()).where(
        jobs.c.model_id == model_id,
        jobs.c.lane == Lane.COMPUTE,
        jobs.c.state.in_([JobState.WAITING, JobState.RUNNING]),
    )
    return int(session.execute(query).scalar_one())


def cancel_waiting(session: Connection, request_id: str) -> None:
    """End the jobs of a request; whoever holds the request has seen that none was claimed."""
    query = select(jobs).where(jobs.c.request_id == request_id, jobs.c.state == JobState.WAITING)
    for job in session.execute(query.with_for_update()).all():
        move(session, job, JobEvent.GAVE_UP, error_code="cancelled")


def lock_jobs_of_request(session: Connection, request_id: str) -> list[Row[Any]]:
    """Hold the jobs before their request, as workers do, so that neither waits for the other in a circle."""
    query = select(jobs).where(jobs.c.request_id == request_id).order_by(jobs.c.id).with_for_update()
    return list(session.execute(query))
