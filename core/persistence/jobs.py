"""Jobs: the table is the queue. Claims, leases and fences are single statements on the database's clock.

Two partial indexes keep the promise of the two lanes: one running deactivation per model, one running computation per
subject. A claim raises the fence; every later write names the fence it works under, so a worker that was paused and
replaced can do no harm.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    Text,
    and_,
    case,
    false,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.errors import StaleFence
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent, JobKind, JobState, Lane, advance
from core.persistence import audit, webhooks
from core.persistence.database import JOBS_CHANNEL, notify
from core.persistence.round_trips import later
from core.persistence.tables import json_column, metadata, one_of, tenant_column, time_column
from core.persistence.wire import array

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
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
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
        "jobs_one_method_per_model",
        "model_id",
        unique=True,
        postgresql_where=text("kind = 'run_method' AND state = 'running'"),
    ),
    Index(
        "jobs_one_waiting_per_subject",
        "subject",
        unique=True,
        postgresql_where=text("lane = 'compute' AND state = 'waiting'"),
    ),
    Index("jobs_open", "lane", "run_after", postgresql_where=text("state IN ('waiting', 'running', 'verifying')")),
    Index("jobs_open_of_model", "model_id", postgresql_where=text("state IN ('waiting', 'running', 'verifying')")),
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
    Column("error_code", Text, nullable=True, comment="why it ended, when it did not end well"),
    Column("peak_memory_bytes", BigInteger, nullable=True, comment="most that its process ever held"),
)


class RenewalAnswer(StrEnum):
    """What the database says to a worker that prolongs its lease."""

    KEPT = "kept"
    ENDED = "ended"
    """It ended under this very fence: the process that does it is about to say so."""
    LOST = "lost"
    """Another worker has the job, or may have it: stop at once, and touch nothing."""
    CANCELLED = "cancelled"
    """Somebody wants it stopped: stop at once, then give it back as cancelled."""


CANCELLED = "cancelled"
"""Error code of a job that somebody stopped."""
ENDS = (JobState.DONE, JobState.FAILED, JobState.DEAD)
POSTPONED = "postponed"
"""Outcome of an attempt that found nothing to do yet."""
SUPERSEDED = "superseded"
"""Error code of a job that had nothing to do any more: another one does it, or a deletion made it pointless."""
ENTRIES = {
    JobEvent.CLAIMED: Action.JOB_CLAIMED,
    JobEvent.UNLEARNED: Action.JOB_UNLEARNED,
    JobEvent.CONCLUDED: Action.JOB_DONE,
    JobEvent.LEASE_LOST: Action.JOB_LEASE_LOST,
    JobEvent.RETRY: Action.JOB_RETRIED,
    JobEvent.HANDED_BACK: Action.JOB_HANDED_BACK,
    JobEvent.FAILED: Action.JOB_FAILED,
    JobEvent.GAVE_UP: Action.JOB_DEAD,
    JobEvent.CANCELLED: Action.JOB_CANCELLED,
}

ADD_DEACTIVATIONS = f"""
    WITH added AS (INSERT INTO jobs (tenant_id, id, kind, lane, subject, model_id, request_id, state, priority, max_attempts,
      attempt, fence)
    SELECT %(tenant)s, name, kind, lane, subject, model_id, %(request)s,
      '{JobState.WAITING}', %(priority)s::integer, %(max_attempts)s::integer, 0, 0
    FROM unnest(%(names)s::text[], %(subjects)s::text[], %(models)s::text[], %(kinds)s::text[], %(lanes)s::text[])
      AS j (name, subject, model_id, kind, lane))
    SELECT pg_notify('{JOBS_CHANNEL}', lane) FROM unnest(%(bells)s::text[]) AS b (lane)"""  # noqa: S608

FORGET_LOOKS = f"""
    DELETE FROM job_attempts WHERE job_id = %(job)s AND outcome = '{POSTPONED}' AND fence < %(fence)s AND fence > (
      SELECT min(a.fence) FROM job_attempts a WHERE a.job_id = %(job)s AND a.outcome = '{POSTPONED}')"""  # noqa: S608


def add_job(session: Connection, **values: Any) -> bool:
    """Put a job in its lane and ring the bell; return False when the same computation waits there already."""
    return add_jobs(session, [values]) == 1


def add_deactivations(  # noqa: PLR0913
    session: Connection,
    request: Any,
    model_ids: Sequence[str | None],
    *,
    priority: int,
    max_attempts: int,
    methods_for: Collection[str] = (),
) -> list[str]:
    """Put a request's jobs in their lanes, one for each model or one for none; ring each bell once; return their ids.

    Models in `methods_for` are in approximate mode: theirs run a method.
    """
    names = [new_identifier("job") for _ in model_ids]
    kinds = [JobKind.RUN_METHOD if model_id in methods_for else JobKind.DEACTIVATE for model_id in model_ids]
    values = {
        "tenant": request.tenant_id,
        "request": request.id,
        "names": array(names),
        "models": array(model_ids),
        "kinds": array(kind.value for kind in kinds),
        "lanes": array(kind.lane.value for kind in kinds),
        "bells": array(sorted({kind.lane.value for kind in kinds})),
        "subjects": array(f"{request.id}/{model_id or '-'}" for model_id in model_ids),
        "priority": priority,
        "max_attempts": max_attempts,
    }
    later(session, ADD_DEACTIVATIONS, values)
    for name, model_id in zip(names, model_ids, strict=True):
        audit.note(
            session,
            Action.JOB_CREATED,
            tenant=request.tenant_id,
            object=name,
            after=JobState.WAITING,
            model=model_id,
            request=request.id,
        )
    return names


def add_jobs(session: Connection, rows: Iterable[dict[str, Any]]) -> int:
    """Put jobs of one lane in it and ring the bell once; return how many did not wait there already."""
    listed = [{"priority": 0, **row, "lane": JobKind(row["kind"]).lane, "state": JobState.WAITING} for row in rows]
    if not listed:
        return 0
    fresh = session.execute(insert(jobs).values(listed).on_conflict_do_nothing().returning(jobs.c.id)).scalars().all()
    notify(session, JOBS_CHANNEL, listed[0]["lane"])
    for row in listed:
        if row["id"] in fresh:
            audit.note(
                session,
                Action.JOB_CREATED,
                tenant=row["tenant_id"],
                object=row["id"],
                after=JobState.WAITING,
                model=row.get("model_id"),
                request=row.get("request_id"),
            )
    return len(fresh)


def claim(  # noqa: PLR0913 - a lane, who, for how long, and two hints
    session: Connection, *, lane: Lane, worker: str, lease: float, job_id: str | None = None, near: str | None = None
) -> Row[Any] | None:
    """Take the most urgent job of a lane, under a new fence; None when there is none.

    Args:
        session: a transaction of its own.
        lane: which lane.
        worker: who takes it.
        lease: seconds until it must be renewed.
        job_id: among equally urgent jobs, this one goes first: the bell named it.
        near: then those whose subject begins so, as the worker has what they need at hand.

    Raises:
        sqlalchemy.exc.IntegrityError: another worker took a job of the same model or subject at the same moment.
    """
    now = func.clock_timestamp()
    busy = jobs.alias()
    one_method = and_(busy.c.kind == JobKind.RUN_METHOD, jobs.c.kind == JobKind.RUN_METHOD)
    same = (
        busy.c.model_id == jobs.c.model_id
        if lane is Lane.DEACTIVATE
        # A method starts from what the one before it left.
        else or_(busy.c.subject == jobs.c.subject, and_(one_method, busy.c.model_id == jobs.c.model_id))
    )
    blocked = select(1).where(busy.c.lane == lane, busy.c.state == JobState.RUNNING, same).exists()
    orphaned = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < now)
    claimable = or_(
        and_(jobs.c.state == JobState.WAITING, ~blocked), and_(jobs.c.state == JobState.VERIFYING, orphaned)
    )
    hints = []
    if job_id is not None:
        hints.append((jobs.c.id == job_id).desc())
    if near is not None:
        hints.append(jobs.c.subject.startswith(near, autoescape=True).desc())
    next_one = (
        select(jobs.c.id)
        .where(jobs.c.lane == lane, jobs.c.run_after <= now, claimable)
        .order_by(jobs.c.priority.desc(), *hints, jobs.c.run_after, jobs.c.id)
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
            # What the last attempt died of stands with that attempt.
            error_code=None,
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


def renew(session: Connection, job_id: str, fence: int, lease: float) -> RenewalAnswer:
    """Prolong the lease, unless it is lost; and hear whether somebody wants the job stopped."""
    done = session.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state.in_([JobState.RUNNING, JobState.VERIFYING]))
        .values(lease_until=func.clock_timestamp() + timedelta(seconds=lease))
        .returning(jobs.c.cancel_requested)
    ).first()
    if done is None:
        mine = select(1).where(jobs.c.id == job_id, jobs.c.fence == fence, jobs.c.state.in_(ENDS))
        return RenewalAnswer.LOST if session.execute(mine).first() is None else RenewalAnswer.ENDED
    return RenewalAnswer.CANCELLED if done.cancel_requested else RenewalAnswer.KEPT


def hand_back(session: Connection, job: Row[Any], *, seconds: float = 0.0) -> None:
    """Let go of a held job, because its worker stops or it came too early: the attempt does not count, and anybody may go on."""
    if job.state == JobState.VERIFYING:
        postpone(session, job, seconds=seconds)
    elif job.cancel_requested:
        move(session, job, JobEvent.CANCELLED, error_code=CANCELLED)
    elif has_successor(session, job):
        move(session, job, JobEvent.CONCLUDED, error_code=SUPERSEDED)
    else:
        move(session, job, JobEvent.HANDED_BACK, attempt=job.attempt - 1, run_after=soon(seconds))
        notify(session, JOBS_CHANNEL, job.lane)


def move(
    session: Connection, job: Row[Any], event: JobEvent, *, peak_memory_bytes: int | None = None, **values: Any
) -> JobState:
    """Move a held job along its table of moves; `values` are further columns to set.

    Raises:
        IllegalMove: the table has no such move.
    """
    state = advance(JobState(job.state), event)
    ended = state in ENDS
    if ended:
        values["finished_at"] = func.clock_timestamp()
    if ended or state is JobState.WAITING:
        values |= {"lease_until": None, "worker": None}
    session.execute(update(jobs).where(jobs.c.id == job.id).values(state=state, **values))
    _note(session, job, event, JobState(job.state), state)
    if event is JobEvent.GAVE_UP:
        _announce_death(session, job, values.get("error_code"))
    if ended or state is JobState.WAITING:
        end_attempt(session, job, event, error_code=values.get("error_code"), peak_memory_bytes=peak_memory_bytes)
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


def _announce_death(session: Connection, job: Row[Any], error_code: str | None) -> None:
    webhooks.announce(
        session,
        Action.JOB_DEAD,
        tenant=job.tenant_id,
        subject=job.id,
        sequence=job.fence,
        object="job",
        kind=job.kind,
        state=JobState.DEAD,
        error_code=error_code,
        model=job.model_id,
        request=job.request_id,
        href=f"/v1/jobs/{job.id}",
    )


def end_attempt(
    session: Connection,
    job: Row[Any],
    outcome: str,
    *,
    error_code: str | None = None,
    peak_memory_bytes: int | None = None,
) -> None:
    """Close the book on the present attempt. What an attempt said of its own death before stays."""
    session.execute(
        update(job_attempts)
        .where(job_attempts.c.job_id == job.id, job_attempts.c.fence == job.fence)
        .values(
            ended_at=func.clock_timestamp(),
            outcome=str(outcome),
            error_code=func.coalesce(job_attempts.c.error_code, error_code),
            peak_memory_bytes=func.coalesce(peak_memory_bytes, job_attempts.c.peak_memory_bytes),
        )
    )


def confess(session: Connection, job_id: str, fence: int, error_code: str, peak_memory_bytes: int | None) -> None:
    """Write down what an attempt is about to die of, as its own process knows best; under its fence, or not at all."""
    mine = update(jobs).where(jobs.c.id == job_id, jobs.c.fence == fence)
    if session.execute(mine.values(error_code=error_code)).rowcount:
        session.execute(
            update(job_attempts)
            .where(job_attempts.c.job_id == job_id, job_attempts.c.fence == fence)
            .values(error_code=error_code, peak_memory_bytes=peak_memory_bytes)
        )


def peak_memory_bytes() -> int:
    """Return the most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def soon(seconds: float) -> Any:
    """Return the database's time a little later."""
    return func.clock_timestamp() + timedelta(seconds=seconds)


def postpone(session: Connection, job: Row[Any], seconds: float) -> None:
    """Let go of a job that is verifying, to be looked at again after `seconds`.

    Of its looks in vain only the last one is kept as an attempt, beside the first, which did the work: there may be two a
    second for as long as a model is built.
    """
    session.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(run_after=func.clock_timestamp() + timedelta(seconds=seconds), lease_until=None, worker=None)
    )
    end_attempt(session, job, POSTPONED)
    later(session, FORGET_LOOKS, {"job": job.id, "fence": job.fence})


def change_lane(session: Connection, job: Row[Any], lane: Lane) -> None:
    """Let a held job that is verifying be seen to its end in another lane, by whoever is free there; ring for it."""
    session.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(lane=lane, lease_until=None, worker=None, run_after=func.clock_timestamp(), progress=None)
    )
    end_attempt(session, job, "handed_on", peak_memory_bytes=peak_memory_bytes())
    notify(session, JOBS_CHANNEL, lane)


def report_progress(session: Connection, job_id: str, fence: int, progress: dict[str, Any]) -> bool:
    """Say where a job stands; False when another worker has taken it over."""
    mine = update(jobs).where(jobs.c.id == job_id, jobs.c.fence == fence)
    return session.execute(mine.values(progress=progress)).rowcount == 1


def next_expired(session: Connection, after: str = "") -> Row[Any] | None:
    """Return the next running job whose lease ran out, by id, locked, leaving those that somebody else looks at."""
    expired = and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < func.clock_timestamp(), jobs.c.id > after)
    query = select(jobs).where(expired).order_by(jobs.c.id).limit(1)
    return session.execute(query.with_for_update(skip_locked=True)).first()


def has_successor(session: Connection, job: Row[Any]) -> bool:
    """Whether another job for the same computation waits; a deletion that overtook this one put it there."""
    query = select(1).where(
        jobs.c.lane == Lane.COMPUTE, jobs.c.subject == job.subject, jobs.c.state == JobState.WAITING
    )
    return job.lane == Lane.COMPUTE and session.execute(query).first() is not None


def lock_job(session: Connection, tenant_id: str, job_id: str) -> Row[Any] | None:
    """Hold a job whatever its state, for somebody who is not its worker."""
    query = select(jobs).where(jobs.c.tenant_id == tenant_id, jobs.c.id == job_id)
    return session.execute(query.with_for_update()).first()


def request_cancel(session: Connection, job: Row[Any]) -> None:
    """Have a held running job stopped by its worker, which hears of it when it renews its lease."""
    if job.cancel_requested:
        return
    session.execute(update(jobs).where(jobs.c.id == job.id).values(cancel_requested=True))
    audit.note(
        session,
        Action.JOB_CANCEL_REQUESTED,
        tenant=job.tenant_id,
        object=job.id,
        before=job.state,
        after=job.state,
        fence=job.fence,
    )


def cancel_waiting(session: Connection, request_id: str) -> None:
    """End the jobs of a request; whoever holds the request has seen that none was claimed."""
    query = select(jobs).where(jobs.c.request_id == request_id, jobs.c.state == JobState.WAITING)
    for job in session.execute(query.with_for_update()).all():
        move(session, job, JobEvent.CANCELLED, error_code=CANCELLED)


def lock_jobs_of_request(session: Connection, request_id: str) -> list[Row[Any]]:
    """Hold the jobs before their request, as workers do, so that neither waits for the other in a circle."""
    query = select(jobs).where(jobs.c.request_id == request_id).order_by(jobs.c.id).with_for_update()
    return list(session.execute(query))
