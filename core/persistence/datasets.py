"""Data sets, their records and blocks, and the owners who may not come back. References only: no identity, no content.

A block is all rows of one owner in one part (public or private) of a data set, sealed under a key of its own; a
record's row says whose it is and which content it has, both as keyed references, until it is erased.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    UniqueConstraint,
    and_,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.persistence import audit
from core.persistence.round_trips import Question, array, later, together
from core.persistence.tables import among, json_column, metadata, reference_column, tenant_column, time_column

NOBODY = bytes(32)
"""Stands for the owner of public rows that nobody owns."""

datasets = Table(
    "datasets",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    json_column("schema"),
    Column("records", Integer, nullable=False),
    Column("public_records", Integer, nullable=False),
    Column("owners", Integer, nullable=False),
    Column("copies", Integer, nullable=False),
    time_column("created_at"),
    UniqueConstraint("tenant_id", "name", name="datasets_name_unique"),
)

blocks = Table(
    "blocks",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    reference_column("owner", primary_key=True),
    Column("public", Boolean, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("object_digest", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    time_column("erased_at", nullable=True),
)

records = Table(
    "records",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    reference_column("record", primary_key=True),
    reference_column("owner"),
    reference_column("content", nullable=True),
    Column("public", Boolean, nullable=False),
    time_column("erased_at", nullable=True),
    Index("records_by_owner", "tenant_id", "owner"),
    Index("records_by_content", "tenant_id", "content"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    reference_column("owner", primary_key=True),
    Column("request_id", Text, nullable=False),
    time_column("suppressed_at"),
    time_column("released_at", nullable=True),
)

OWNED_BY = """
    SELECT * FROM records WHERE tenant_id = %(tenant)s AND owner = ANY (%(owners)s::bytea[]) AND erased_at IS NULL
    ORDER BY dataset_id, record"""
ALIKE = """
    SELECT * FROM records WHERE tenant_id = %(tenant)s AND content = ANY (%(contents)s::bytea[]) AND erased_at IS NULL
    ORDER BY dataset_id, record"""
SUPPRESS = """
    INSERT INTO suppressions (tenant_id, owner, request_id) SELECT %(tenant)s, unnest(%(owners)s::bytea[]), %(request)s
    ON CONFLICT (tenant_id, owner) DO UPDATE SET request_id = excluded.request_id, released_at = NULL"""


def add_dataset(session: Connection, **values: Any) -> None:
    session.execute(insert(datasets).values(**values))
    audit.note(
        session,
        Action.DATASET_REGISTERED,
        tenant=values["tenant_id"],
        object=values["id"],
        records=values["records"],
    )


def find_dataset(session: Connection, tenant_id: str, dataset_id: str) -> Row[Any] | None:
    """Return the data set by id or by name."""
    named = (datasets.c.id == dataset_id) | (datasets.c.name == dataset_id)
    # An id wins over a name, or somebody could name a data set like another one's id.
    query = select(datasets).where(datasets.c.tenant_id == tenant_id, named)
    return session.execute(query.order_by((datasets.c.id == dataset_id).desc())).first()


def list_datasets(session: Connection, tenant_id: str) -> list[Row[Any]]:
    query = select(datasets).where(datasets.c.tenant_id == tenant_id)
    return list(session.execute(query.order_by(datasets.c.created_at)))


def add_records(session: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(records), list(rows))


def add_blocks(session: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(blocks), list(rows))


def count_copies(session: Connection, tenant_id: str, dataset_id: str) -> int:
    """Return how many records of the data set have a content that some other owner's record also has."""
    other = records.alias()
    same = (
        select(1)
        .where(
            other.c.tenant_id == tenant_id,
            other.c.content == records.c.content,
            other.c.owner != records.c.owner,
            other.c.owner != NOBODY,
            other.c.erased_at.is_(None),
        )
        .exists()
    )
    query = select(func.count()).select_from(records).where(records.c.dataset_id == dataset_id, same)
    return int(session.execute(query).scalar_one())


def records_of_owners(session: Connection, tenant_id: str, owners: Collection[bytes]) -> list[Row[Any]]:
    """Return every record, in any data set and not yet erased, that belongs to one of the owners."""
    [rows] = together(session, owned_by(tenant_id, owners))
    return rows


def owned_by(tenant_id: str, owners: Collection[bytes]) -> Question:
    """Ask for every record, in any data set and not yet erased, that belongs to one of the owners."""
    return OWNED_BY, {"tenant": tenant_id, "owners": array(owners)}


def records_by_reference(
    session: Connection, tenant_id: str, dataset_id: str, references: Collection[bytes]
) -> list[Row[Any]]:
    query = select(records).where(
        records.c.tenant_id == tenant_id,
        records.c.dataset_id == dataset_id,
        among(records.c.record, references),
        records.c.erased_at.is_(None),
    )
    return list(session.execute(query))


def copies_of(session: Connection, tenant_id: str, contents: Collection[bytes]) -> list[Row[Any]]:
    """Return every record, whoever owns it, whose content is one of these."""
    [rows] = together(session, alike(tenant_id, contents))
    return rows


def alike(tenant_id: str, contents: Collection[bytes]) -> Question:
    """Ask for every record, whoever owns it, whose content is one of these."""
    return ALIKE, {"tenant": tenant_id, "contents": array(contents)}


def erase_records(
    session: Connection, tenant_id: str, dataset_id: str, references: Collection[bytes], *, request_id: str
) -> None:
    """Mark records as erased and drop their content reference, so that nothing can be matched against them."""
    done = session.execute(
        update(records)
        .where(records.c.dataset_id == dataset_id, among(records.c.record, references), records.c.erased_at.is_(None))
        .values(erased_at=func.clock_timestamp(), content=None)
    )
    if done.rowcount:
        audit.note(
            session,
            Action.DATASET_ROWS_ERASED,
            tenant=tenant_id,
            object=dataset_id,
            request=request_id,
            records=done.rowcount,
        )


def block_of(
    session: Connection, dataset_id: str, owner: bytes, *, public: bool, lock: bool = False
) -> Row[Any] | None:
    query = select(blocks).where(
        blocks.c.dataset_id == dataset_id,
        blocks.c.owner == owner,
        blocks.c.public == public,
        blocks.c.erased_at.is_(None),
    )
    return session.execute(query.with_for_update() if lock else query).first()


def blocks_under(session: Connection, tenant_id: str, key_ids: Collection[str]) -> list[Row[Any]]:
    """Return the blocks that are sealed under one of these keys and not erased."""
    query = select(blocks).where(
        blocks.c.tenant_id == tenant_id, among(blocks.c.key_id, key_ids), blocks.c.erased_at.is_(None)
    )
    return list(session.execute(query)) if key_ids else []


def records_in_block(session: Connection, block: Row[Any]) -> list[bytes]:
    """Return the records that lie in a block and are not erased."""
    query = select(records.c.record).where(
        records.c.dataset_id == block.dataset_id,
        records.c.owner == block.owner,
        records.c.public == block.public,
        records.c.erased_at.is_(None),
    )
    return [bytes(record) for record in session.execute(query).scalars()]


def remaining_in_block(session: Connection, dataset_id: str, owner: bytes, *, public: bool) -> int:
    query = select(func.count()).where(
        records.c.dataset_id == dataset_id,
        records.c.owner == owner,
        records.c.public == public,
        records.c.erased_at.is_(None),
    )
    return int(session.execute(query).scalar_one())


def mark_block_erased(session: Connection, dataset_id: str, owner: bytes, *, public: bool) -> None:
    session.execute(
        update(blocks)
        .where(blocks.c.dataset_id == dataset_id, blocks.c.owner == owner, blocks.c.public == public)
        .values(erased_at=func.clock_timestamp(), records=0)
    )


def replace_block(session: Connection, block: Row[Any], **values: Any) -> None:
    session.execute(
        update(blocks)
        .where(
            and_(
                blocks.c.dataset_id == block.dataset_id, blocks.c.owner == block.owner, blocks.c.public == block.public
            )
        )
        .values(**values)
    )


def live_blocks(session: Connection, dataset_id: str, *, public: bool) -> list[Row[Any]]:
    query = select(blocks).where(
        blocks.c.dataset_id == dataset_id, blocks.c.public == public, blocks.c.erased_at.is_(None)
    )
    return list(session.execute(query.order_by(blocks.c.owner)))


def private_owners(session: Connection, dataset_id: str) -> list[Row[Any]]:
    """Return (owner, records) of the private part, for occupancy."""
    query = (
        select(records.c.owner, func.count().label("records"))
        .where(records.c.dataset_id == dataset_id, records.c.public.is_(False), records.c.erased_at.is_(None))
        .group_by(records.c.owner)
    )
    return list(session.execute(query))


def suppress(session: Connection, tenant_id: str, owners: Collection[bytes], request_id: str) -> None:
    """Refuse these owners at ingest from now on."""
    if owners:  # in order, so that two who refuse the same ones wait for each other once
        later(session, SUPPRESS, {"tenant": tenant_id, "owners": array(sorted(owners)), "request": request_id})


def suppressed_among(session: Connection, tenant_id: str, owners: Collection[bytes]) -> set[bytes]:
    query = select(suppressions.c.owner).where(
        suppressions.c.tenant_id == tenant_id,
        among(suppressions.c.owner, owners),
        suppressions.c.released_at.is_(None),
    )
    return set(session.execute(query).scalars())


def release_suppression(session: Connection, tenant_id: str, owner: bytes) -> bool:
    """Let an owner who consented anew come back; return whether they had been refused."""
    done = session.execute(
        update(suppressions)
        .where(
            suppressions.c.tenant_id == tenant_id,
            suppressions.c.owner == owner,
            suppressions.c.released_at.is_(None),
        )
        .values(released_at=func.clock_timestamp())
    )
    if done.rowcount == 1:
        audit.note(session, Action.RECONSENT_RECORDED, tenant=tenant_id, object=owner.hex())
    return done.rowcount == 1


def public_leaves(session: Connection, dataset_id: str) -> list[bytes]:
    """Return record ‖ content of every public record: what a backbone pre-trained now would be a function of."""
    query = select(records.c.record, records.c.content).where(
        records.c.dataset_id == dataset_id, records.c.public.is_(True), records.c.erased_at.is_(None)
    )
    return [bytes(row.record) + bytes(row.content) for row in session.execute(query.order_by(records.c.record))]
