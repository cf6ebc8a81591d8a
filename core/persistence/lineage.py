"""Questions across the tables of nodes, versions, certificates and the log: what came from what, and who ever held what."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Integer, Row, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB

from core.audit.entry import Action
from core.persistence.audit import audit_entries
from core.persistence.datasets import blocks, records
from core.persistence.jobs import job_attempts, jobs
from core.persistence.models import tombstones
from core.persistence.nodes import nodes
from core.persistence.requests import certificates, erasures
from core.persistence.tables import among
from core.persistence.versions import versions


def nodes_after(session: Connection, model_id: str, after: str, limit: int) -> list[Row[Any]]:
    """Return nodes with the worker that made them, in the order of their keys."""
    attempt = (job_attempts.c.job_id == nodes.c.job_id) & (job_attempts.c.fence == nodes.c.fence)
    query = (
        select(nodes, job_attempts.c.worker)
        .outerjoin(job_attempts, attempt)
        .where(nodes.c.model_id == model_id, nodes.c.key > after)
    )
    return list(session.execute(query.order_by(nodes.c.key).limit(limit)))


def versions_after(session: Connection, model_id: str, after: str, limit: int) -> list[Row[Any]]:
    """Return versions with the worker of the job that made them, oldest first."""
    fence = versions.c.provenance["fence"].astext.cast(Integer)
    attempt = (job_attempts.c.job_id == versions.c.job_id) & (job_attempts.c.fence == fence)
    query = (
        select(versions, job_attempts.c.worker)
        .outerjoin(job_attempts, attempt)
        .where(versions.c.model_id == model_id, versions.c.id > after)
    )
    return list(session.execute(query.order_by(versions.c.id).limit(limit)))


def certificates_after(session: Connection, model_id: str, after: str, limit: int) -> list[Row[Any]]:
    query = select(certificates).where(certificates.c.model_id == model_id, certificates.c.id > after)
    return list(session.execute(query.order_by(certificates.c.id).limit(limit)))


def exports_after(session: Connection, model_id: str, after: str, limit: int) -> list[Row[Any]]:
    """Return (entry, index, at, actor, version, manifest) of every export of a model, as the log tells."""
    body = cast(func.convert_from(audit_entries.c.body, "UTF8"), JSONB)
    entry = body["id"].astext
    query = select(
        entry.label("entry"),
        audit_entries.c.index,
        audit_entries.c.at,
        audit_entries.c.actor,
        body["refs"]["version"].astext.label("version"),
        body["refs"]["manifest"].astext.label("manifest"),
    ).where(audit_entries.c.object == model_id, audit_entries.c.action == Action.MODEL_EXPORTED, entry > after)
    return list(session.execute(query.order_by(entry).limit(limit)))


def first_entry(session: Connection, name: str, action: str) -> Row[Any] | None:
    """Return the log's first word on a thing."""
    query = select(audit_entries).where(audit_entries.c.object == name, audit_entries.c.action == action)
    return session.execute(query.order_by(audit_entries.c.index).limit(1)).first()


def graves_of_owners(session: Connection, model_id: str, owners: Collection[bytes]) -> list[Row[Any]]:
    """Return the tombstones of everything that a model forgot of these owners."""
    query = select(tombstones).where(tombstones.c.model_id == model_id, among(tombstones.c.owner, owners))
    return list(session.execute(query.order_by(tombstones.c.record)))


def records_ever(
    session: Connection, tenant_id: str, owners: Collection[bytes], named: Collection[bytes]
) -> list[Row[Any]]:
    """Return the records of owners, or of these references, in any data set, erased or not."""
    mine = among(records.c.owner, owners) | among(records.c.record, named)
    query = select(records).where(records.c.tenant_id == tenant_id, mine)
    return list(session.execute(query.order_by(records.c.dataset_id, records.c.record)))


def nodes_over(session: Connection, model_id: str, shard: int, number: int) -> list[Row[Any]]:
    """Return every node, live or dead, that was trained on a slice."""
    over = literal(number) == func.any(nodes.c.slices)
    query = select(nodes).where(nodes.c.model_id == model_id, nodes.c.shard == shard, over)
    return list(session.execute(query.order_by(nodes.c.key)))


def keys_not_destroyed_yet(session: Connection, keys: Collection[str]) -> set[str]:
    """Return those of these keys that were ordered destroyed and are not: a worker is about to do it."""
    query = select(erasures.c.key_id).where(among(erasures.c.key_id, keys), erasures.c.destroyed_at.is_(None))
    return set(session.execute(query).scalars())


def blocks_ever(session: Connection, tenant_id: str, owners: Collection[bytes]) -> list[Row[Any]]:
    """Return the blocks of owners, erased or not."""
    query = select(blocks).where(blocks.c.tenant_id == tenant_id, among(blocks.c.owner, owners))
    return list(session.execute(query))


def trainings_since_before(session: Connection, subject: str, moment: Any) -> list[Row[Any]]:
    """Return the running jobs of a shard whose present attempt began before a moment: they may hold its rows open."""
    attempt = (job_attempts.c.job_id == jobs.c.id) & (job_attempts.c.fence == jobs.c.fence)
    query = (
        select(jobs.c.id)
        .join(job_attempts, attempt)
        .where(
            jobs.c.state == text("'running'"),
            jobs.c.kind == text("'train_node'"),
            jobs.c.subject.startswith(subject, autoescape=True),
        )
    )
    if moment is not None:
        query = query.where(job_attempts.c.started_at < moment)
    return list(session.execute(query.order_by(jobs.c.id)))
