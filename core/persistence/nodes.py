"""The trained nodes of every lattice: in draft, alive, or dead with their key destroyed. Tensors lie in the object store."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    Row,
    Table,
    Text,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.manifest import NodeEntry
from core.persistence import audit
from core.persistence.tables import among, json_column, metadata, one_of, tenant_column, time_column


class NodeState(StrEnum):
    LIVE = "live"
    DEAD = "dead"


nodes = Table(
    "nodes",
    metadata,
    tenant_column(),
    Column("model_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("slices", ARRAY(Integer), nullable=False),
    Column("slice_roots", ARRAY(Text), nullable=False),
    Column("parent", Text, nullable=True),
    Column("canonical", Boolean, nullable=False),
    Column("dataset_version", Integer, nullable=False, server_default=text("1")),
    Column("data_digest", Text, nullable=False),
    Column("tensor_digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("object_digest", Text, nullable=False),
    Column("data_key_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    json_column("environment", nullable=True),
    time_column("created_at"),
    time_column("died_at", nullable=True),
    Column("died_for", Text, nullable=True),
    one_of("state", NodeState),
    Index("nodes_live", "model_id", "shard", postgresql_where=text("state = 'live'")),
    Index("nodes_died_for", "died_for", "model_id"),
    Index("nodes_by_state", "model_id", "state"),
)


drafts = Table(
    "node_drafts",
    metadata,
    tenant_column(),
    Column("data_key_id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("slices", ARRAY(Integer), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    time_column("created_at"),
    Index("node_drafts_by_model", "model_id", "shard"),
)
"""Keys of nodes that were trained and are not committed yet. A worker may die between sealing a node and committing it;
without this row, nobody would know that a key exists which opens what the node learned."""


def add_draft(session: Connection, **values: Any) -> None:
    session.execute(insert(drafts).values(**values))


def drop_draft(session: Connection, data_key_id: str) -> None:
    session.execute(delete(drafts).where(drafts.c.data_key_id == data_key_id))


def drafts_of(session: Connection, model_id: str) -> list[Row[Any]]:
    return list(session.execute(select(drafts).where(drafts.c.model_id == model_id)))


def abandoned_drafts(session: Connection) -> list[Row[Any]]:
    """Return the drafts of jobs that ended or were taken over since: nobody will commit them."""
    from core.persistence.jobs import jobs

    at_work = (
        select(1)
        .where(jobs.c.id == drafts.c.job_id, jobs.c.fence == drafts.c.fence, jobs.c.state == "running")
        .exists()
    )
    return list(session.execute(select(drafts).where(~at_work)))


def as_entry(row: Row[Any]) -> NodeEntry:
    return NodeEntry(
        key=row.key,
        shard=row.shard,
        slices=tuple(row.slices),
        slice_roots=tuple(row.slice_roots),
        parent=row.parent,
        canonical=row.canonical,
        data_digest=row.data_digest,
        tensor_digest=row.tensor_digest,
    )


def add_node(session: Connection, entry: NodeEntry, **values: Any) -> bool:
    """Keep a trained node; return False when it is alive already, with the same key and so the same inputs.

    A dead node of that key comes back to life with the new object and key: a deletion may strike a slice without
    changing it, when the record had left the data set before, and then a fresh build has the very same node.
    """
    row = {
        "key": entry.key,
        "shard": entry.shard,
        "slices": list(entry.slices),
        "slice_roots": list(entry.slice_roots),
        "parent": entry.parent,
        "canonical": entry.canonical,
        "data_digest": entry.data_digest,
        "tensor_digest": entry.tensor_digest,
        "state": NodeState.LIVE,
        **values,
    }
    done = insert(nodes).values(**row)
    # It was made now: whoever looks which nodes are older than a tombstone must not take it for the one that died.
    revived = {**row, "created_at": func.clock_timestamp(), "died_at": None, "died_for": None}
    done = done.on_conflict_do_update(
        index_elements=["model_id", "key"], set_=revived, where=nodes.c.state == NodeState.DEAD
    )
    fresh = session.execute(done).rowcount == 1
    if fresh:
        audit.note(
            session,
            Action.NODES_COMMITTED,
            tenant=values["tenant_id"],
            object=entry.key,
            model=values["model_id"],
            job=values["job_id"],
            fence=values["fence"],
            records=values["records"],
        )
    return fresh


def live_nodes(session: Connection, model_id: str, shard: int | None = None) -> list[Row[Any]]:
    query = select(nodes).where(nodes.c.model_id == model_id, nodes.c.state == NodeState.LIVE)
    if shard is not None:
        query = query.where(nodes.c.shard == shard)
    return list(session.execute(query.order_by(nodes.c.shard, nodes.c.slices, nodes.c.key)))


def page_of_live_nodes(session: Connection, model_id: str, *, limit: int, after: str | None) -> list[Row[Any]]:
    """Return live nodes, shard by shard; `after` is the key that the last page ended with, of a node living or dead."""
    place = tuple_(nodes.c.shard, nodes.c.slices, nodes.c.key)
    query = select(nodes).where(nodes.c.model_id == model_id, nodes.c.state == NodeState.LIVE)
    if after is not None:
        last = nodes.alias().c
        query = query.where(
            place
            > select(last.shard, last.slices, last.key)
            .where(last.model_id == model_id, last.key == after)
            .scalar_subquery()
        )
    return list(session.execute(query.order_by(place).limit(limit)))


def switch_off(session: Connection, model_id: str, keys: Iterable[str], request_id: str) -> list[Row[Any]]:
    """Mark nodes dead for a request and return them."""
    done = (
        update(nodes)
        .where(nodes.c.model_id == model_id, among(nodes.c.key, list(keys)), nodes.c.state == NodeState.LIVE)
        .values(state=NodeState.DEAD, died_at=func.clock_timestamp(), died_for=request_id)
        .returning(nodes)
    )
    lost = list(session.execute(done))
    for node in lost:
        audit.note(
            session,
            Action.NODES_SWITCHED_OFF,
            tenant=node.tenant_id,
            object=node.key,
            before=NodeState.LIVE,
            after=NodeState.DEAD,
            model=model_id,
            request=request_id,
        )
    return lost


def outgrow(session: Connection, model_id: str, shard: int, grown: Iterable[int]) -> int:
    """Mark live nodes as provisional that learned a slice which has grown since; return how many were canonical."""
    learned = nodes.c.slices.op("&&")(literal(sorted(grown), ARRAY(Integer)))
    done = update(nodes).where(
        nodes.c.model_id == model_id,
        nodes.c.shard == shard,
        nodes.c.state == NodeState.LIVE,
        nodes.c.canonical.is_(True),
        learned,
    )
    return session.execute(done.values(canonical=False)).rowcount


def died_for(session: Connection, model_id: str, request_id: str) -> list[Row[Any]]:
    query = select(nodes).where(nodes.c.died_for == request_id, nodes.c.model_id == model_id)
    return list(session.execute(query.order_by(nodes.c.shard, nodes.c.slices, nodes.c.key)))


def count_died_for(session: Connection, request_ids: Collection[str]) -> dict[str, int]:
    """Return how many nodes were switched off for each of these requests that any was switched off for."""
    query = select(nodes.c.died_for, func.count()).where(among(nodes.c.died_for, request_ids))
    return {request_id: int(count) for request_id, count in session.execute(query.group_by(nodes.c.died_for))}


def nodes_by_key(session: Connection, model_id: str, keys: Iterable[str]) -> dict[str, Row[Any]]:
    query = select(nodes).where(nodes.c.model_id == model_id, among(nodes.c.key, list(keys)))
    return {row.key: row for row in session.execute(query)}


def any_on_gpu(session: Connection, model_id: str, keys: Iterable[str]) -> bool:
    """Whether one of these nodes says in its environment that it was trained on a device other than a CPU."""
    query = select(1).where(
        nodes.c.model_id == model_id, among(nodes.c.key, list(keys)), nodes.c.environment.has_key("device")
    )
    return session.execute(query.limit(1)).first() is not None


def servable(rows: Iterable[Row[Any]], slices: int) -> list[NodeEntry]:
    """Return the nodes that may be served: those that learned something.

    A node over empty slices alone is legal, because others stand on it, but it knows no more than the backbone. Only
    where a whole shard is empty is its full-depth node served, as a fresh build would.
    """
    return [as_entry(row) for row in rows if row.records or len(row.slices) == slices]


def depths(session: Connection, model_id: str, slices: int) -> dict[int, int]:
    """Return the depth at which each shard is served, without the dead ones; see `servable`."""
    depth = func.cardinality(nodes.c.slices)
    query = select(nodes.c.shard, func.max(depth)).where(
        nodes.c.model_id == model_id, nodes.c.state == NodeState.LIVE, (nodes.c.records > 0) | (depth == slices)
    )
    return {row.shard: int(row[1]) for row in session.execute(query.group_by(nodes.c.shard))}


def seconds_per_slice(session: Connection, model_id: str) -> float:
    """Return how long the live nodes of a model took to train, per slice that they learned; 0 when there is none."""
    depth = func.sum(func.cardinality(nodes.c.slices))
    query = select(func.coalesce(func.sum(nodes.c.seconds) / func.nullif(depth, 0), 0.0))
    alive = query.where(nodes.c.model_id == model_id, nodes.c.state == NodeState.LIVE)
    return float(session.execute(alive).scalar_one())


def count_nodes(session: Connection, model_id: str) -> dict[str, int]:
    query = (
        select(nodes.c.state, func.count().label("nodes")).where(nodes.c.model_id == model_id).group_by(nodes.c.state)
    )
    counted = {row.state: row.nodes for row in session.execute(query)}
    return {state.value: int(counted.get(state.value, 0)) for state in NodeState}
