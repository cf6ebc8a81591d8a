"""Data sets, their records and blocks, and the owners who may not come back. References only: no identity, no content.

A block is all rows of one owner in one part (public or private) of a data set that came with one of its versions, sealed
under a key of its own; a record's row says whose it is and which content it has, both as keyed references, until it is erased.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
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
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.persistence import audit
from core.persistence.round_trips import Question, later, together
from core.persistence.tables import (
    among,
    json_column,
    metadata,
    page_of,
    reference_column,
    tenant_column,
    time_column,
)
from core.persistence.wire import array

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
    Column("version", Integer, nullable=False, server_default=text("1")),
    time_column("created_at"),
    UniqueConstraint("tenant_id", "name", name="datasets_name_unique"),
)
"""Counts are of all that ever came, with any version; `version` is the newest."""

dataset_versions = Table(
    "dataset_versions",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("records", Integer, nullable=False),
    Column("owners", Integer, nullable=False),
    Column("new_owners", Integer, nullable=False),
    Column("copies", Integer, nullable=False),
    time_column("created_at"),
)
"""What came with each version, counted when it came."""

blocks = Table(
    "blocks",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    reference_column("owner", primary_key=True),
    Column("public", Boolean, primary_key=True),
    Column("version", Integer, primary_key=True, server_default=text("1")),
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
    Column("version", Integer, nullable=False, server_default=text("1")),
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
ALIKE_TO_OWNED = """
    SELECT * FROM records WHERE tenant_id = %(tenant)s AND erased_at IS NULL AND content = ANY (ARRAY(
      SELECT content FROM records WHERE tenant_id = %(tenant)s AND owner = ANY (%(owners)s::bytea[]) AND erased_at IS NULL))
    ORDER BY dataset_id, record"""
SUPPRESS = """
    INSERT INTO suppressions (tenant_id, owner, request_id) SELECT %(tenant)s, unnest(%(owners)s::bytea[]), %(request)s
    ON CONFLICT (tenant_id, owner) DO UPDATE SET request_id = excluded.request_id, released_at = NULL"""


def add_dataset(session: Connection, **values: Any) -> None:
    session.execute(insert(datasets).values(**values))
    first = {name: values[name] for name in ("tenant_id", "records", "owners", "copies")}
    session.execute(
        insert(dataset_versions).values(**first, dataset_id=values["id"], number=1, new_owners=values["owners"])
    )
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


def page_of_datasets(session: Connection, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    """Return data sets, newest first; `before` is the id that the last page ended with."""
    return page_of(session, datasets, tenant_id, limit=limit, before=before)


def lock_dataset(session: Connection, dataset_id: str) -> Row[Any]:
    """Hold a data set until the transaction ends: those who add versions take turns."""
    return session.execute(select(datasets).where(datasets.c.id == dataset_id).with_for_update()).one()


def add_version(session: Connection, dataset: Row[Any], **came: int) -> int:
    """Count in what came with the next version of a locked data set, and return its number.

    Args:
        session: the transaction that holds the data set.
        dataset: its row.
        came: how many `records`, `owners`, `new_owners` and `copies`.
    """
    number = int(dataset.version) + 1
    common = {"tenant_id": dataset.tenant_id, "dataset_id": dataset.id}
    session.execute(insert(dataset_versions).values(**common, number=number, **came))
    counted = {
        "version": number,
        "records": datasets.c.records + came["records"],
        "owners": datasets.c.owners + came["new_owners"],
        "copies": datasets.c.copies + came["copies"],
    }
    session.execute(update(datasets).where(datasets.c.id == dataset.id).values(**counted))
    audit.note(
        session,
        Action.DATASET_GROWN,
        tenant=dataset.tenant_id,
        object=dataset.id,
        dataset_version=number,
        records=came["records"],
    )
    return number


def page_of_versions(session: Connection, dataset_id: str, *, limit: int, before: int | None) -> list[Row[Any]]:
    """Return what came with each version, newest first; `before` is the number that the last page ended with."""
    query = select(dataset_versions).where(dataset_versions.c.dataset_id == dataset_id)
    if before is not None:
        query = query.where(dataset_versions.c.number < before)
    return list(session.execute(query.order_by(dataset_versions.c.number.desc()).limit(limit)))


def known_records(session: Connection, dataset_id: str, references: Collection[bytes]) -> set[bytes]:
    """Return which of these records the data set holds or ever held."""
    query = select(records.c.record).where(records.c.dataset_id == dataset_id, among(records.c.record, references))
    return {bytes(record) for record in session.execute(query).scalars()}


def known_owners(session: Connection, dataset_id: str, owners: Collection[bytes]) -> set[bytes]:
    """Return which of these owners ever had a record in the data set."""
    query = select(records.c.owner).where(records.c.dataset_id == dataset_id, among(records.c.owner, owners))
    return {bytes(owner) for owner in session.execute(query.distinct()).scalars()}


def added_after(session: Connection, dataset_id: str, references: Collection[bytes], version: int) -> set[bytes]:
    """Return which of these records came with a later version than that."""
    query = select(records.c.record).where(
        records.c.dataset_id == dataset_id, among(records.c.record, references), records.c.version > version
    )
    return {bytes(record) for record in session.execute(query).scalars()}


def add_records(session: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(records), list(rows))


def add_blocks(session: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(blocks), list(rows))


def count_copies(session: Connection, tenant_id: str, dataset_id: str, version: int = 1) -> int:
    """Return how many records of one version of the data set have a content that some other owner's record also has."""
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
    query = (
        select(func.count())
        .select_from(records)
        .where(records.c.dataset_id == dataset_id, records.c.version == version, same)
    )
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


def alike_to_owned(tenant_id: str, owners: Collection[bytes]) -> Question:
    """Ask for every record, whoever owns it, whose content is that of a record of one of the owners."""
    return ALIKE_TO_OWNED, {"tenant": tenant_id, "owners": array(owners)}


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


def blocks_of(
    session: Connection, dataset_id: str, owner: bytes, *, public: bool, lock: bool = False
) -> list[Row[Any]]:
    """Return an owner's blocks in one part that are not erased: one for each version that brought rows of theirs."""
    query = select(blocks).where(
        blocks.c.dataset_id == dataset_id,
        blocks.c.owner == owner,
        blocks.c.public == public,
        blocks.c.erased_at.is_(None),
    )
    query = query.order_by(blocks.c.version)
    return list(session.execute(query.with_for_update() if lock else query))


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
        records.c.version == block.version,
        records.c.erased_at.is_(None),
    )
    return [bytes(record) for record in session.execute(query).scalars()]


def mark_block_erased(session: Connection, block: Row[Any]) -> None:
    done = update(blocks).where(_is(block)).values(erased_at=func.clock_timestamp(), records=0)
    session.execute(done)


def replace_block(session: Connection, block: Row[Any], **values: Any) -> None:
    session.execute(update(blocks).where(_is(block)).values(**values))


def _is(block: Row[Any]) -> ColumnElement[bool]:
    named = ("dataset_id", "owner", "public", "version")
    return and_(*(blocks.c[name] == getattr(block, name) for name in named))


def live_blocks(session: Connection, dataset_id: str, *, public: bool, version: int) -> list[Row[Any]]:
    """Return the blocks of one part that came with this version or before."""
    query = select(blocks).where(
        blocks.c.dataset_id == dataset_id,
        blocks.c.public == public,
        blocks.c.version <= version,
        blocks.c.erased_at.is_(None),
    )
    return list(session.execute(query.order_by(blocks.c.owner, blocks.c.version)))


def private_owners(session: Connection, dataset_id: str, version: int) -> list[Row[Any]]:
    """Return (owner, records) of the private part as of a version, for occupancy."""
    query = (
        select(records.c.owner, func.count().label("records"))
        .where(
            records.c.dataset_id == dataset_id,
            records.c.public.is_(False),
            records.c.version <= version,
            records.c.erased_at.is_(None),
        )
        .group_by(records.c.owner)
    )
    return list(session.execute(query))


def count_living(
    session: Connection, dataset_id: str, *, but: Collection[bytes] = (), version: int | None = None
) -> int:
    """Return how many records of a version, or of all, are not erased, without those named."""
    query = select(func.count()).where(records.c.dataset_id == dataset_id, records.c.erased_at.is_(None))
    if version is not None:
        query = query.where(records.c.version <= version)
    if but:
        query = query.where(~among(records.c.record, but))
    return int(session.execute(query).scalar_one())


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
