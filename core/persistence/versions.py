"""Versions with their manifests, the aliases that point at them, and who serves which version right now.

A predictor holds a lease on serving: it may answer only while it confirmed its version lately, and it says here which
one that is. So a deletion knows when nobody can answer from the old version any more.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.model import Guarantee
from core.persistence import audit
from core.persistence.tables import json_column, metadata, one_of, tenant_column, time_column

SERVING = "serving"
"""The alias that predictors follow."""

versions = Table(
    "versions",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("guarantee", Text, nullable=False),
    Column("manifest_digest", Text, nullable=False),
    json_column("manifest"),
    json_column("provenance"),
    Column("job_id", Text, nullable=False),
    time_column("created_at"),
    Index("versions_by_job", "job_id"),
    UniqueConstraint("model_id", "number", name="versions_number_unique"),
    one_of("guarantee", Guarantee),
)

aliases = Table(
    "aliases",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version_id", Text, nullable=False),
    Column("row_version", Integer, nullable=False),
    time_column("moved_at"),
)

servings = Table(
    "servings",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("predictor_id", Text, primary_key=True),
    Column("version_number", Integer, nullable=False),
    Column("lease_seconds", Float, nullable=False),
    time_column("confirmed_at"),
    Index("servings_by_predictor", "predictor_id"),
)


def add_version(session: Connection, **values: Any) -> int:
    """Keep a version and return its number, one above the last; the caller holds the model's lock."""
    last = select(func.coalesce(func.max(versions.c.number), 0)).where(versions.c.model_id == values["model_id"])
    done = insert(versions).values(**values, number=last.scalar_subquery() + 1).returning(versions.c.number)
    number = int(session.execute(done).scalar_one())
    audit.note(
        session,
        Action.VERSION_CREATED,
        tenant=values["tenant_id"],
        object=values["id"],
        model=values["model_id"],
        manifest=values["manifest_digest"],
    )
    return number


def live_version(session: Connection, model_id: str) -> Row[Any] | None:
    query = (
        select(versions)
        .join(aliases, aliases.c.version_id == versions.c.id)
        .where(aliases.c.model_id == model_id, aliases.c.name == SERVING)
    )
    return session.execute(query).first()


def find_version(session: Connection, model_id: str, version: str) -> Row[Any] | None:
    """Return a version by id, by number or by alias."""
    if version == SERVING:
        return live_version(session, model_id)
    named = versions.c.number == int(version) if version.isdecimal() and len(version) < 10 else versions.c.id == version  # noqa: PLR2004
    return session.execute(select(versions).where(versions.c.model_id == model_id, named)).first()


def version_by_id(session: Connection, version_id: str) -> Row[Any] | None:
    """Return a version whosever it is, for an operator's command."""
    return session.execute(select(versions).where(versions.c.id == version_id)).first()


def list_versions(session: Connection, model_id: str, *, limit: int, before: int | None) -> list[Row[Any]]:
    query = select(versions).where(versions.c.model_id == model_id)
    if before is not None:
        query = query.where(versions.c.number < before)
    return list(session.execute(query.order_by(versions.c.number.desc()).limit(limit)))


def move_alias(session: Connection, *, tenant_id: str, model_id: str, version_id: str) -> None:
    done = insert(aliases).values(
        tenant_id=tenant_id, model_id=model_id, name=SERVING, version_id=version_id, row_version=1
    )
    moved = {
        "version_id": version_id,
        "row_version": aliases.c.row_version + 1,
        "moved_at": func.clock_timestamp(),
    }
    session.execute(done.on_conflict_do_update(index_elements=["model_id", "name"], set_=moved))
    audit.note(session, Action.ALIAS_MOVED, tenant=tenant_id, object=model_id, alias=SERVING, version=version_id)


def served_versions(session: Connection) -> list[Row[Any]]:
    """Return (tenant, model id, model name, version id, number, guarantee) of every serving alias."""
    from core.persistence.models import models

    query = (
        select(
            versions.c.tenant_id,
            versions.c.model_id,
            models.c.name,
            versions.c.id,
            versions.c.number,
            versions.c.guarantee,
        )
        .join(aliases, aliases.c.version_id == versions.c.id)
        .join(models, models.c.id == versions.c.model_id)
        .where(aliases.c.name == SERVING)
    )
    return list(session.execute(query))


def holds_still(session: Connection, model_id: str, version_id: str) -> bool:
    """Whether the version is the live one, and will be until the transaction ends: the alias's mover waits for it."""
    query = select(aliases.c.version_id).where(aliases.c.model_id == model_id, aliases.c.name == SERVING)
    return bool(session.execute(query.with_for_update(read=True)).scalar() == version_id)


def confirm_serving(session: Connection, **values: Any) -> None:
    """Say which version this predictor answers from, as of now."""
    done = insert(servings).values(**values)
    fresh = {
        "version_number": done.excluded.version_number,
        "lease_seconds": done.excluded.lease_seconds,
        "confirmed_at": func.clock_timestamp(),
    }
    session.execute(done.on_conflict_do_update(index_elements=["model_id", "predictor_id"], set_=fresh))


def leave_serving(session: Connection, predictor_id: str) -> None:
    session.execute(delete(servings).where(servings.c.predictor_id == predictor_id))


def servings_of(session: Connection, model_id: str) -> list[Row[Any]]:
    """Return each predictor with a lease that still holds: (predictor, version number, time of confirmation)."""
    holds = servings.c.confirmed_at > func.clock_timestamp() - servings.c.lease_seconds * text("interval '1 second'")
    query = select(servings).where(servings.c.model_id == model_id, holds)
    return list(session.execute(query.order_by(servings.c.predictor_id)))


def version_of_job(session: Connection, model_id: str, job_id: str) -> Row[Any] | None:
    """Return the version that a job published."""
    query = select(versions).where(versions.c.model_id == model_id, versions.c.job_id == job_id)
    return session.execute(query.order_by(versions.c.number.desc()).limit(1)).first()
