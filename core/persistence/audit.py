"""The audit log on disk: the exact bytes of every entry, the tree over them, and the checkpoints that were signed.

Whoever changes a state notes it with `note`; the transaction's door appends all that was noted, and commits in the same
round trip. So no state changes without its entry, and no lock is held while anything else is done. Appending is a
function of the database (`append_to_log`), which holds one advisory lock: locking the newest row instead would hand a
waiting writer the row it waited for, not the newer one inserted meanwhile, and fork the log. A trigger refuses to
change or delete an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import UNTIMED, Action, Actor, Entry, RefValue, untimed_bytes
from core.audit.log import NodeReader, root
from core.domain.errors import EntryNotFound
from core.domain.identifiers import new_identifier
from core.persistence import round_trips
from core.persistence.tables import SYSTEM_TENANT, metadata, reference_column, tenant_column, time_column
from core.persistence.wire import array

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


@dataclass
class Noted:
    """One entry on its way into the log."""

    action: Action
    tenant: str
    object: str
    before: str | None
    after: str | None
    refs: dict[str, RefValue]
    index: int = -1
    """Its place in the log, from the moment it was appended: by `flush`, or as the transaction commits."""

    def halves(self, actor: Actor) -> tuple[bytes, bytes]:
        """Return its bytes before and behind the time, which the database fills in."""
        entry = Entry(
            id=new_identifier("aud"),
            at=UNTIMED,
            tenant=self.tenant,
            actor=actor,
            action=self.action,
            object=self.object,
            moved_from=self.before,
            moved_to=self.after,
            refs=self.refs,
        )
        return untimed_bytes(entry)


APPEND = """SELECT append_to_log(%(actor)s, %(tenants)s::text[], %(actions)s::text[], %(objects)s::text[],
    %(heads)s::bytea[], %(tails)s::bytea[]) AS first"""
FIRST_OF = """SELECT index AS place FROM audit_entries WHERE tenant_id = %(tenant_id)s AND object = %(object)s
    ORDER BY index LIMIT 1"""


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
) -> Noted:
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
    known: dict[str, RefValue] = {name: value for name, value in refs.items() if value is not None}
    noted = Noted(action, tenant, object, before, after, known)
    session.info[_NOTED].append(noted)
    return noted


def append(session: Connection) -> list[Noted]:
    """Let what was noted so far go into the log, as the last statement that waits. The transaction's door calls this."""
    noted: list[Noted] = session.info[_NOTED]
    session.info[_NOTED] = []
    if not noted:
        return []
    actor: Actor = session.info[_ACTOR]
    halves = [one.halves(actor) for one in noted]
    values = {
        "actor": actor.id,
        "tenants": array(one.tenant for one in noted),
        "actions": array(one.action for one in noted),
        "objects": array(one.object for one in noted),
        "heads": array(head for head, _ in halves),
        "tails": array(tail for _, tail in halves),
    }

    def number(row: tuple[int]) -> None:
        for index, one in enumerate(noted, start=row[0]):
            one.index = index

    round_trips.later(session, APPEND, values, number)
    return noted


def flush(session: Connection) -> list[int]:
    """Append what was noted so far at once and return the indexes; the log's lock is held from here on."""
    noted = append(session)
    round_trips.send(session)
    return [one.index for one in noted]


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


def first_index_of(session: Connection, tenant_id: str, object_id: str) -> int:
    """Return where the log tells of something for the first time."""
    [row] = round_trips.ask(session, FIRST_OF, tenant_id=tenant_id, object=object_id)
    return int(row.place)


def bodies(session: Connection) -> Iterator[bytes]:
    """Yield the exact bytes of every entry, in order, without holding them all."""
    query = select(audit_entries.c.body).order_by(audit_entries.c.index).execution_options(yield_per=1000)
    for body in session.execute(query).scalars():
        yield bytes(body)


def bodies_between(session: Connection, start: int, end: int) -> list[bytes]:
    """Return the exact bytes of the entries from index `start` up to, and without, `end`."""
    query = select(audit_entries.c.body).where(audit_entries.c.index >= start, audit_entries.c.index < end)
    return [bytes(body) for body in session.execute(query.order_by(audit_entries.c.index)).scalars()]


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
