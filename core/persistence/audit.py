"""The audit log on disk: the exact bytes of every entry, the tree over them, and the checkpoints that were signed.

Whoever changes a state notes it with `note`; the transaction's door appends all that was noted as its last statements,
under one advisory lock. So no state changes without its entry, and no lock is held while anything else is done. Locking the newest row instead
would hand a waiting writer the row it waited for, not the newer one inserted meanwhile, and fork the log. A trigger
refuses to change or delete an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    func,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action, Actor, Entry, RefValue, entry_bytes
from core.audit.log import NodeReader, leaf_hash, nodes_completed_by, root
from core.domain.errors import EntryNotFound
from core.domain.identifiers import new_identifier
from core.persistence.tables import SYSTEM_TENANT, metadata, reference_column, tenant_column, time_column

_NOTED, _ACTOR = "lethe_noted", "lethe_actor"

audit_entries = Table(
    "audit_entries",
    metadata,
    tenant_column(),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    time_column("at"),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("audit_entries_by_object", "tenant_id", "object", "index"),
    Index("audit_entries_by_action", "tenant_id", "action", "index"),
)

audit_tree = Table(
    "audit_tree",
    metadata,
    tenant_column(),
    Column("level", Integer, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    reference_column("hash"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    tenant_column(),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    time_column("signed_at"),
)


def begin(session: Connection, actor: Actor) -> None:
    """Start collecting entries for a transaction of this actor."""
    session.info[_NOTED] = []
    session.info[_ACTOR] = actor


def note(  # noqa: PLR0913 - an entry has as many parts as it has
    session: Connection,
    action: Action,
    *,
    tenant: str,
    object: str,  # noqa: A002 - the word of the log's format
    before: str | None = None,
    after: str | None = None,
    **refs: RefValue,
) -> None:
    """Have one entry appended when this transaction commits.

    Args:
        session: the transaction whose fate the entry shares.
        action: one of the closed list.
        tenant: whose entry it is.
        object: identifier of what was acted on.
        before: its state before, if it has one.
        after: its state after.
        refs: identifiers, digests and counts; never an identity, never free text.
    """
    known = {name: value for name, value in refs.items() if value is not None}
    session.info[_NOTED].append((action, tenant, object, before, after, known))


def flush(session: Connection) -> list[int]:
    """Append what was noted so far and return the indexes. The transaction's door calls this last."""
    noted, session.info[_NOTED] = session.info[_NOTED], []
    if not noted:
        return []
    actor: Actor = session.info[_ACTOR]
    lock(session)
    first, now = session.execute(
        select(func.coalesce(func.max(audit_entries.c.index) + 1, 0), func.clock_timestamp())
    ).one()
    rows: list[dict[str, Any]] = []
    grown: dict[tuple[int, int], bytes] = {}
    peaks = _peaks(session, int(first))

    def read(level: int, index: int) -> bytes:
        return grown[level, index] if (level, index) in grown else peaks[level, index]

    for index, (action, tenant, object_id, before, after, refs) in enumerate(noted, start=int(first)):
        body = entry_bytes(
            Entry(
                id=new_identifier("aud"),
                at=now,
                tenant=tenant,
                actor=actor,
                action=action,
                object=object_id,
                moved_from=before,
                moved_to=after,
                refs=refs,
            )
        )
        common = {"tenant_id": tenant, "at": now, "action": action, "actor": actor.id, "object": object_id}
        rows.append({**common, "index": index, "body": body})
        for level, position, value in nodes_completed_by(index, leaf_hash(body), read):
            grown[level, position] = value
    session.execute(insert(audit_entries), rows)
    session.execute(
        insert(audit_tree),
        [
            {"tenant_id": SYSTEM_TENANT, "level": level, "index": index, "hash": value}
            for (level, index), value in grown.items()
        ],
    )
    return [row["index"] for row in rows]


def _peaks(session: Connection, entries: int) -> dict[tuple[int, int], bytes]:
    """Return the largest complete subtrees of a log of that size, all that appending to it can ask for."""
    wanted = [(level, (entries >> level) - 1) for level in range(entries.bit_length()) if entries >> level & 1]
    if not wanted:
        return {}
    place = audit_tree.c.level, audit_tree.c.index.label("position")
    query = select(*place, audit_tree.c.hash).where(tuple_(audit_tree.c.level, audit_tree.c.index).in_(wanted))
    return {(row.level, row.position): bytes(row.hash) for row in session.execute(query)}


def lock(session: Connection) -> None:
    """Take the log's turn until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('lethe audit log'))"))


def reader(session: Connection) -> NodeReader:
    """Return how to read the hash of a complete subtree."""

    def read(level: int, index: int) -> bytes:
        query = select(audit_tree.c.hash).where(audit_tree.c.level == level, audit_tree.c.index == index)
        value = session.execute(query).scalar()
        if value is None:
            raise EntryNotFound(f"the log's tree lacks node {index} of level {level}")
        return bytes(value)

    return read


def size(session: Connection) -> int:
    return int(session.execute(select(func.coalesce(func.max(audit_entries.c.index) + 1, 0))).scalar_one())


def head(session: Connection) -> tuple[int, bytes]:
    """Return the log's present size and root."""
    entries = size(session)
    return entries, root(entries, reader(session))


def keep_checkpoint(session: Connection, *, entries: int, note: str) -> None:
    session.execute(
        insert(audit_checkpoints).values(tenant_id=SYSTEM_TENANT, size=entries, note=note).on_conflict_do_nothing()
    )


def latest_checkpoint(session: Connection, covering: int = 0) -> Row[Any] | None:
    """Return the smallest stored checkpoint that covers `covering` entries, or the newest when that is 0."""
    query = select(audit_checkpoints).where(audit_checkpoints.c.size >= covering)
    order = audit_checkpoints.c.size.asc() if covering else audit_checkpoints.c.size.desc()
    return session.execute(query.order_by(order).limit(1)).first()


def has_checkpoint(session: Connection, *, entries: int, note: str) -> bool:
    """Whether this very head was signed over the log that is here."""
    query = select(1).where(audit_checkpoints.c.size == entries, audit_checkpoints.c.note == note)
    return session.execute(query).first() is not None


def entries_of(session: Connection, action: Action) -> list[Row[Any]]:
    """Return every tenant's entries of one action, oldest first."""
    query = select(audit_entries).where(audit_entries.c.action == action)
    return list(session.execute(query.order_by(audit_entries.c.index)))


def checkpoints(session: Connection) -> list[Row[Any]]:
    return list(session.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size)))


def entry(session: Connection, tenant_id: str, index: int) -> Row[Any] | None:
    query = select(audit_entries).where(audit_entries.c.index == index, audit_entries.c.tenant_id == tenant_id)
    return session.execute(query).first()


def bodies(session: Connection) -> Iterator[bytes]:
    """Yield the exact bytes of every entry, in order, without holding them all."""
    query = select(audit_entries.c.body).order_by(audit_entries.c.index).execution_options(yield_per=1000)
    for body in session.execute(query).scalars():
        yield bytes(body)


def list_entries(
    session: Connection, tenant_id: str, *, limit: int, after: int | None, **filters: Any
) -> Sequence[Row[Any]]:
    """Return entries of one tenant in order; filters: action, actor, object, since, until."""
    query = select(audit_entries).where(audit_entries.c.tenant_id == tenant_id)
    for column in ("action", "actor", "object"):
        if filters.get(column) is not None:
            query = query.where(audit_entries.c[column] == filters[column])
    since, until = filters.get("since"), filters.get("until")
    if isinstance(since, datetime):
        query = query.where(audit_entries.c.at >= since)
    if isinstance(until, datetime):
        query = query.where(audit_entries.c.at < until)
    if after is not None:
        query = query.where(audit_entries.c.index > after)
    return session.execute(query.order_by(audit_entries.c.index).limit(limit)).all()
