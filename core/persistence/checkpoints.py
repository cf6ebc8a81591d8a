"""Checkpoints of models in approximate mode: sealed tensors, runs of methods with their attempts, waivers, flags.

A checkpoint is a candidate until the judge or a person lets it be served, live while it is, and dead once its key is to be
destroyed. A run belongs to one job: it keeps where the method stands, so that whoever takes the job over goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Row,
    Table,
    Text,
    cast,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from core.audit.entry import Action
from core.persistence import audit
from core.persistence.tables import json_column, metadata, one_of, tenant_column, time_column


class CheckpointState(StrEnum):
    CANDIDATE = "candidate"
    LIVE = "live"
    DEAD = "dead"


checkpoints = Table(
    "checkpoints",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("data_key_id", Text, nullable=False),
    Column("object_digest", Text, nullable=True, comment="null until it is sealed; its key may exist before"),
    Column("tensor_digest", Text, nullable=True),
    Column("job_id", Text, nullable=True),
    Column("attempt", Integer, nullable=True),
    Column("drift", Float, nullable=False, server_default=text("0")),
    time_column("created_at"),
    time_column("died_at", nullable=True),
    one_of("state", CheckpointState),
    Index("checkpoints_by_model", "model_id", "state"),
    Index("checkpoints_by_job", "job_id"),
)

method_runs = Table(
    "method_runs",
    metadata,
    tenant_column(),
    Column("job_id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("base_version", Text, nullable=False),
    Column("data_key_id", Text, nullable=False, comment="seals the state between epochs"),
    Column("state_digest", Text, nullable=True, comment="object from which the present attempt goes on"),
    json_column("plan"),
    Column("fence", BigInteger, nullable=False),
    time_column("created_at"),
    time_column("ended_at", nullable=True),
    Index("method_runs_by_request", "request_id", "model_id"),
)

method_attempts = Table(
    "method_attempts",
    metadata,
    tenant_column(),
    Column("job_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("checkpoint_id", Text, nullable=True),
    json_column("account"),
    time_column("ended_at"),
    Index("method_attempts_by_request", "request_id", "model_id"),
)

waivers = Table(
    "waivers",
    metadata,
    tenant_column(),
    Column("digest", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    json_column("waiver"),
    time_column("created_at"),
    Index("waivers_by_request", "request_id", "model_id"),
)

qualifications = Table(
    "qualifications",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("recipe", Text, nullable=False, comment="digest of the recipe that was put to the test"),
    Column("standing", Text, nullable=False),
    json_column("account"),
    time_column("created_at"),
    Index("qualifications_by_model", "model_id", "created_at"),
)

version_flags = Table(
    "version_flags",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    time_column("flagged_at"),
    time_column("cleared_at", nullable=True),
    Index("version_flags_open", "model_id", postgresql_where=text("cleared_at IS NULL")),
)


def add_checkpoint(session: Connection, **values: Any) -> None:
    session.execute(insert(checkpoints).values(**values))


def find_checkpoint(session: Connection, checkpoint_id: str) -> Row[Any] | None:
    return session.execute(select(checkpoints).where(checkpoints.c.id == checkpoint_id)).first()


def live_checkpoint(session: Connection, model_id: str) -> Row[Any] | None:
    query = select(checkpoints).where(checkpoints.c.model_id == model_id, checkpoints.c.state == CheckpointState.LIVE)
    return session.execute(query).first()


def seal_checkpoint(session: Connection, checkpoint_id: str, **values: Any) -> None:
    session.execute(update(checkpoints).where(checkpoints.c.id == checkpoint_id).values(**values))


def candidates_of(session: Connection, job_id: str) -> list[Row[Any]]:
    query = select(checkpoints).where(checkpoints.c.job_id == job_id, checkpoints.c.state == CheckpointState.CANDIDATE)
    return list(session.execute(query.order_by(checkpoints.c.created_at)))


def candidates_of_model(session: Connection, model_id: str) -> list[Row[Any]]:
    query = select(checkpoints).where(
        checkpoints.c.model_id == model_id, checkpoints.c.state == CheckpointState.CANDIDATE
    )
    return list(session.execute(query.order_by(checkpoints.c.created_at)))


def candidates_for(session: Connection, model_id: str, request_id: str) -> list[Row[Any]]:
    """Return what runs for one request left behind that is neither served nor dead."""
    mine = select(method_runs.c.job_id).where(
        method_runs.c.model_id == model_id, method_runs.c.request_id == request_id
    )
    query = select(checkpoints).where(checkpoints.c.job_id.in_(mine), checkpoints.c.state == CheckpointState.CANDIDATE)
    return list(session.execute(query.order_by(checkpoints.c.created_at)))


def go_live(session: Connection, checkpoint_id: str) -> None:
    session.execute(update(checkpoints).where(checkpoints.c.id == checkpoint_id).values(state=CheckpointState.LIVE))


def bury_checkpoints(session: Connection, ids: Sequence[str]) -> list[Row[Any]]:
    """Mark checkpoints dead and return them; whoever calls orders the death of their keys."""
    done = (
        update(checkpoints)
        .where(checkpoints.c.id.in_(ids), checkpoints.c.state != CheckpointState.DEAD)
        .values(state=CheckpointState.DEAD, died_at=func.clock_timestamp())
        .returning(checkpoints)
    )
    return list(session.execute(done))


def find_run(session: Connection, job_id: str) -> Row[Any] | None:
    return session.execute(select(method_runs).where(method_runs.c.job_id == job_id)).first()


def begin_run(session: Connection, **values: Any) -> None:
    session.execute(insert(method_runs).values(**values))


def restart_run(session: Connection, job_id: str, **values: Any) -> None:
    """Begin a run again from another version; the attempts that were made stay known."""
    session.execute(
        update(method_runs).where(method_runs.c.job_id == job_id).values(state_digest=None, ended_at=None, **values)
    )


def save_state(session: Connection, job_id: str, fence: int, digest: str | None) -> None:
    session.execute(update(method_runs).where(method_runs.c.job_id == job_id).values(state_digest=digest, fence=fence))


def end_run(session: Connection, job_id: str) -> None:
    session.execute(
        update(method_runs)
        .where(method_runs.c.job_id == job_id)
        .values(ended_at=func.clock_timestamp(), state_digest=None)
    )


_ATTRIBUTION = method_runs.c.plan["attribution"]


def keep_attribution(session: Connection, job_id: str, attribution: dict[str, Any]) -> None:
    """Keep with a run what was computed for it: key_id, object_digest, and an account of inputs and cost."""
    plan = method_runs.c.plan.op("||")(func.jsonb_build_object("attribution", cast(attribution, JSONB)))
    session.execute(update(method_runs).where(method_runs.c.job_id == job_id).values(plan=plan))


def attributions_of(session: Connection, model_id: str) -> list[Row[Any]]:
    """Return (job_id, attribution) of every run on a model that keeps one, oldest first."""
    query = select(method_runs.c.job_id, _ATTRIBUTION.label("attribution"))
    kept = query.where(method_runs.c.model_id == model_id, _ATTRIBUTION.is_not(None))
    return list(session.execute(kept.order_by(method_runs.c.created_at, method_runs.c.job_id)))


def drop_attributions(session: Connection, model_id: str, job_id: str | None = None) -> list[dict[str, Any]]:
    """Forget what runs on a locked model keep, or one run, and return it; whoever calls orders the death of the keys."""
    kept = {row.job_id: row.attribution for row in attributions_of(session, model_id) if job_id in {None, row.job_id}}
    gone = update(method_runs).where(method_runs.c.job_id.in_(kept))
    session.execute(gone.values(plan=method_runs.c.plan.op("-")("attribution")))
    return list(kept.values())


def runs_for(session: Connection, model_id: str, request_id: str) -> list[Row[Any]]:
    query = select(method_runs).where(method_runs.c.model_id == model_id, method_runs.c.request_id == request_id)
    return list(session.execute(query.order_by(method_runs.c.created_at)))


def add_attempt(session: Connection, *, log: dict[str, Any], **values: Any) -> None:
    """Keep an attempt with everything that is known of it, and note it in the log with its judgement's digest."""
    session.execute(insert(method_attempts).values(**values))
    audit.note(
        session,
        Action.METHOD_ATTEMPTED,
        tenant=values["tenant_id"],
        object=values["model_id"],
        job=values["job_id"],
        request=values["request_id"],
        method=values["method"],
        attempt=values["number"],
        **log,
    )


def attempts_of_run(session: Connection, job_id: str) -> list[Row[Any]]:
    query = select(method_attempts).where(method_attempts.c.job_id == job_id)
    return list(session.execute(query.order_by(method_attempts.c.number)))


_IN_ORDER = (method_attempts.c.ended_at, method_attempts.c.job_id, method_attempts.c.number)


def attempts_for(session: Connection, request_id: str, model_id: str | None = None) -> list[Row[Any]]:
    query = select(method_attempts).where(method_attempts.c.request_id == request_id)
    if model_id is not None:
        query = query.where(method_attempts.c.model_id == model_id)
    return list(session.execute(query.order_by(*_IN_ORDER)))


def page_of_attempts(session: Connection, request_id: str, *, limit: int, after: int) -> list[Row[Any]]:
    """Return a request's attempts from a position on; none is ever taken back, so a position stays what it is."""
    query = select(method_attempts).where(method_attempts.c.request_id == request_id)
    return list(session.execute(query.order_by(*_IN_ORDER).limit(limit).offset(after)))


def served_attempt(session: Connection, version_id: str, model_id: str) -> Row[Any]:
    """Return the attempt whose result a version serves."""
    from core.persistence.versions import versions

    made = select(versions.c.provenance["checkpoint"].astext).where(versions.c.id == version_id).scalar_subquery()
    query = select(method_attempts).where(
        method_attempts.c.model_id == model_id, method_attempts.c.checkpoint_id == made
    )
    return session.execute(query).one()


def measured_costs(session: Connection, model_id: str) -> dict[str, float]:
    """Return each method's latest measured cost on a model, as a share of a retrain.

    With an attribution's own, also where it was there already: the next request needs another.
    """
    query = select(method_attempts).where(method_attempts.c.model_id == model_id).order_by(method_attempts.c.ended_at)
    shares = {row.method: _share(row.account.get("cost") or {}) for row in session.execute(query)}
    return {method: one for method, one in shares.items() if one is not None}


def _share(cost: dict[str, Any]) -> float | None:
    share = cost.get("retrain_share")
    if share is None:
        return None
    return float(share) + float((cost.get("attribution") or {}).get("retrain_share") or 0.0)


def add_waiver(session: Connection, *, log: dict[str, Any], **values: Any) -> None:
    session.execute(insert(waivers).values(**values))
    audit.note(
        session,
        Action.JUDGEMENT_WAIVED,
        tenant=values["tenant_id"],
        object=values["digest"],
        request=values["request_id"],
        model=values["model_id"],
        **log,
    )


def waiver_for(session: Connection, request_id: str, model_id: str) -> Row[Any] | None:
    query = select(waivers).where(waivers.c.request_id == request_id, waivers.c.model_id == model_id)
    return session.execute(query.order_by(waivers.c.created_at.desc()).limit(1)).first()


def add_qualification(session: Connection, **values: Any) -> None:
    session.execute(insert(qualifications).values(**values))
    audit.note(
        session,
        Action.MODEL_QUALIFIED,
        tenant=values["tenant_id"],
        object=values["model_id"],
        after=values["standing"],
        job=values["job_id"],
        digest=values["account"]["digest"],
    )


def latest_qualification(session: Connection, model_id: str) -> Row[Any] | None:
    query = select(qualifications).where(qualifications.c.model_id == model_id)
    return session.execute(query.order_by(qualifications.c.created_at.desc()).limit(1)).first()


def flag_version(session: Connection, *, tenant_id: str, model_id: str, request_id: str) -> None:
    """Say that what a model serves was trained on somebody who is to be forgotten."""
    fresh = insert(version_flags).values(tenant_id=tenant_id, model_id=model_id, request_id=request_id)
    if session.execute(fresh.on_conflict_do_nothing()).rowcount:
        audit.note(session, Action.VERSION_FLAGGED, tenant=tenant_id, object=model_id, request=request_id)


def clear_flags(session: Connection, request_id: str, model_id: str | None = None) -> None:
    done = update(version_flags).where(version_flags.c.request_id == request_id, version_flags.c.cleared_at.is_(None))
    if model_id is not None:
        done = done.where(version_flags.c.model_id == model_id)
    session.execute(done.values(cleared_at=func.clock_timestamp()))


def open_flags(session: Connection, model_id: str) -> list[Row[Any]]:
    query = select(version_flags).where(version_flags.c.model_id == model_id, version_flags.c.cleared_at.is_(None))
    return list(session.execute(query.order_by(version_flags.c.flagged_at)))
