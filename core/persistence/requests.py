"""Deletion requests, what they resolved to, their certificates, and the ledger of keys that had to be destroyed.

A request keeps references only. Its subjects are resolved once, when it is accepted: from then on the owner is refused
at ingest, so the list cannot grow behind its back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.deletion import (
    ENDED,
    CopiesPolicy,
    RequestEvent,
    RequestKind,
    RequestState,
    Result,
    WaitReason,
    advance,
)
from core.domain.model import Guarantee
from core.persistence import audit, webhooks
from core.persistence.datasets import suppressions
from core.persistence.round_trips import Question, ask, later
from core.persistence.tables import among, json_column, metadata, one_of, reference_column, tenant_column, time_column
from core.persistence.wire import array

OPEN_STATES = ", ".join(f"'{state.value}'" for state in RequestState if state not in ENDED)
"""As SQL has them in a list; said in these words, a question is answered from the index of open requests."""

requests = Table(
    "deletion_requests",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("wait_reason", Text, nullable=True),
    Column("external_id", Text, nullable=True),
    Column("regulation", Text, nullable=True),
    Column("created_by", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'data_deletion'")),
    json_column("unlearning", nullable=True),
    Column("scope_models", ARRAY(Text), nullable=True),
    Column("copies_policy", Text, nullable=False),
    Column("copies", Integer, nullable=False),
    Column("records", Integer, nullable=False),
    Column("in_backbone", Boolean, nullable=False),
    Column("result", Text, nullable=True),
    Column("row_version", Integer, nullable=False, default=1),
    time_column("received_at"),
    time_column("influence_free_at", nullable=True),
    time_column("completed_at", nullable=True),
    time_column("updated_at"),
    one_of("state", RequestState),
    one_of("kind", RequestKind),
    one_of("wait_reason", WaitReason),
    one_of("copies_policy", CopiesPolicy),
    one_of("result", Result),
    UniqueConstraint("tenant_id", "created_by", "external_id", name="deletion_requests_external_id_unique"),
    Index("deletion_requests_by_state", "tenant_id", "state", "id"),
    Index("deletion_requests_by_tenant", "tenant_id", "id"),
    Index("deletion_requests_open", "state", "received_at", postgresql_where=text(f"state IN ({OPEN_STATES})")),
)

request_owners = Table(
    "request_owners",
    metadata,
    tenant_column(),
    Column("request_id", Text, primary_key=True),
    reference_column("owner", primary_key=True),
    Index("request_owners_by_owner", "tenant_id", "owner", "request_id"),
)

request_records = Table(
    "request_records",
    metadata,
    tenant_column(),
    Column("request_id", Text, primary_key=True),
    Column("dataset_id", Text, primary_key=True),
    reference_column("record", primary_key=True),
    reference_column("owner"),
    Column("public", Boolean, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("model_id", Text, nullable=False, comment="empty when no model ever saw the subject"),
    Column("version_id", Text, nullable=True),
    Column("guarantee", Text, nullable=False, comment="empty when no model ever saw the subject"),
    Column("envelope", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("log_index", BigInteger, nullable=False),
    time_column("issued_at"),
    UniqueConstraint("request_id", "model_id", "guarantee", name="certificates_one_per_promise"),
    Index("certificates_in_order", "model_id", "guarantee", "log_index"),
)


class ErasureKind(StrEnum):
    BLOCK = "block"
    NODE = "node"


erasures = Table(
    "erasures",
    metadata,
    tenant_column(),
    Column("key_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("object_digest", Text, nullable=True, comment="an object to remove with the key; none for shared chunks"),
    time_column("ordered_at"),
    time_column("destroyed_at", nullable=True),
    one_of("kind", ErasureKind),
    Index("erasures_open", "request_id", postgresql_where=text("destroyed_at IS NULL")),
    Index("erasures_by_request", "request_id"),
)


ENTRIES = {
    RequestEvent.APPROVAL_REQUIRED: Action.DELETION_REQUEST_APPROVAL_REQUIRED,
    RequestEvent.PLANNED: Action.DELETION_REQUEST_SCHEDULED,
    RequestEvent.APPROVED: Action.DELETION_REQUEST_APPROVED,
    RequestEvent.DENIED: Action.DELETION_REQUEST_DENIED,
    RequestEvent.CANCELLED: Action.DELETION_REQUEST_CANCELLED,
    RequestEvent.STARTED: Action.DELETION_REQUEST_STARTED,
    RequestEvent.INFLUENCE_FREE: Action.DELETION_REQUEST_INFLUENCE_FREE,
    RequestEvent.REPLACED: Action.DELETION_REQUEST_REPLACED,
    RequestEvent.TROUBLED: Action.DELETION_REQUEST_NEEDS_ATTENTION,
    RequestEvent.RECOVERED: Action.DELETION_REQUEST_RECOVERED,
    RequestEvent.COMPLETED: Action.DELETION_REQUEST_COMPLETED,
}

_UNDECIDED: dict[str, Any] = dict.fromkeys(
    ("external_id", "wait_reason", "result", "influence_free_at", "completed_at"), None
)
"""What a request lacks that was just made."""
ADD_REQUEST = """
    WITH request AS (
      INSERT INTO deletion_requests (tenant_id, id, state, wait_reason, external_id, regulation, created_by,
        kind, unlearning, scope_models, copies_policy, copies, records, in_backbone, row_version, received_at, updated_at)
      VALUES (%(tenant_id)s, %(id)s, %(state)s, %(wait_reason)s, %(external_id)s, %(regulation)s, %(created_by)s,
        %(kind)s, %(unlearning)s::jsonb, %(scope_models)s::text[], %(copies_policy)s, %(copies)s, %(records)s, %(in_backbone)s, %(row_version)s,
        %(received_at)s, %(updated_at)s)
    ), owners AS (
      INSERT INTO request_owners (tenant_id, request_id, owner)
      SELECT %(tenant_id)s, %(id)s, unnest(%(owners)s::bytea[])
    )
    INSERT INTO request_records (tenant_id, request_id, dataset_id, record, owner, public)
    SELECT %(tenant_id)s, %(id)s, r.* FROM unnest(%(record_datasets)s::text[], %(record_references)s::bytea[],
      %(record_owners)s::bytea[], %(record_public)s::boolean[]) AS r"""
BY_EXTERNAL_ID = """
    SELECT * FROM deletion_requests
    WHERE tenant_id = %(tenant)s AND created_by = %(created_by)s AND external_id = %(external_id)s"""
ABOUT = """
    SELECT DISTINCT request_id FROM request_owners
    WHERE tenant_id = %(tenant)s AND owner = ANY (%(owners)s::bytea[]) AND request_id <> %(but)s
    ORDER BY request_id DESC LIMIT 20"""
RELATED = """
    SELECT r.id, ARRAY(
      SELECT DISTINCT theirs.request_id FROM request_owners mine JOIN request_owners theirs
        ON theirs.tenant_id = mine.tenant_id AND theirs.owner = mine.owner
      WHERE mine.request_id = r.id AND mine.tenant_id = %(tenant)s AND theirs.request_id <> r.id
      ORDER BY theirs.request_id DESC LIMIT 20) AS related
    FROM unnest(%(requests)s::text[]) AS r (id)"""


def add_request(
    session: Connection,
    event: RequestEvent,
    *,
    owners: Collection[bytes],
    resolved: Sequence[Row[Any]],
    **values: Any,
) -> tuple[Any, audit.Noted]:
    """Have a request written that was received and went on at once; return it as it will be, and its first log entry.

    Args:
        session: the transaction in which it is accepted.
        event: what became of it: planned, or waiting for a second person.
        owners: references of whom it names.
        resolved: rows of `records` that it is about.
        values: its other columns.
    """
    values = {"kind": RequestKind.DATA_DELETION, "unlearning": None} | values
    request = SimpleNamespace(**_UNDECIDED | values, state=RequestState.RECEIVED, row_version=1)
    request.updated_at = request.received_at
    ordered = sorted(owners)
    received = audit.note(
        session,
        Action.DELETION_REQUEST_RECEIVED,
        tenant=request.tenant_id,
        object=request.id,
        after=request.state,
        records=len(resolved),
        owners=[owner.hex() for owner in ordered],
    )
    _announce(session, Action.DELETION_REQUEST_RECEIVED, vars(request) | {"wait_reason": None})
    request.state, request.row_version = advance(request.state, event), 2
    _note_move(session, event, vars(request), before=RequestState.RECEIVED)
    subject = {
        "owners": array(ordered),
        "record_datasets": array(row.dataset_id for row in resolved),
        "record_references": array(row.record for row in resolved),
        "record_owners": array(row.owner for row in resolved),
        "record_public": array(row.public for row in resolved),
    }
    said = None if request.unlearning is None else json.dumps(request.unlearning)
    later(session, ADD_REQUEST, vars(request) | subject | {"unlearning": said})
    return request, received


def find_request(session: Connection, tenant_id: str, request_id: str) -> Row[Any] | None:
    query = select(requests).where(requests.c.tenant_id == tenant_id, requests.c.id == request_id)
    return session.execute(query).first()


def find_by_external_id(session: Connection, tenant_id: str, created_by: str, external_id: str) -> Row[Any] | None:
    found = ask(session, BY_EXTERNAL_ID, tenant=tenant_id, created_by=created_by, external_id=external_id)
    return found[0] if found else None


def lock_request(session: Connection, request_id: str) -> Row[Any]:
    return session.execute(select(requests).where(requests.c.id == request_id).with_for_update()).one()


def move_request(session: Connection, request: Row[Any], event: RequestEvent, **values: Any) -> RequestState:
    """Move a locked request along its table of moves.

    Raises:
        IllegalMove, RequestNotCancellable: the table has no such move.
    """
    state = advance(RequestState(request.state), event)
    values.setdefault("wait_reason", None)
    if event is RequestEvent.INFLUENCE_FREE:
        values["influence_free_at"] = func.clock_timestamp()
    if state is RequestState.COMPLETED:
        values["completed_at"] = func.clock_timestamp()
    moving = (
        update(requests)
        .where(requests.c.id == request.id)
        .values(state=state, row_version=requests.c.row_version + 1, updated_at=func.clock_timestamp(), **values)
        .returning(requests)
    )
    moved = session.execute(moving).mappings().one()
    _note_move(session, event, moved, before=request.state)
    return state


def _note_move(session: Connection, event: RequestEvent, moved: Mapping[Any, Any], *, before: str) -> None:
    tenant, after = moved["tenant_id"], moved["state"]
    audit.note(session, ENTRIES[event], tenant=tenant, object=moved["id"], before=before, after=after)
    _announce(session, ENTRIES[event], moved)


def _announce(session: Connection, action: Action, request: Mapping[Any, Any]) -> None:
    """Tell of a request's move: what the API shows of it, without whom it is about."""
    webhooks.announce(
        session,
        action,
        tenant=request["tenant_id"],
        subject=request["id"],
        sequence=request["row_version"],
        object="deletion_request",
        **{name: request.get(name) for name in ("state", "wait_reason", "result", "external_id")},
        href=f"/v1/deletion-requests/{request['id']}",
    )


def list_requests(
    session: Connection, tenant_id: str, *, limit: int, before: str | None, **filters: Any
) -> list[Row[Any]]:
    """Return requests, newest first. Filters: state, external_id, model (in scope), created_after, created_before."""
    from core.persistence.jobs import jobs

    query = select(requests).where(requests.c.tenant_id == tenant_id)
    for column in ("state", "external_id", "regulation"):
        if filters.get(column) is not None:
            query = query.where(requests.c[column] == filters[column])
    if filters.get("model") is not None:
        query = query.where(
            select(1).where(jobs.c.request_id == requests.c.id, jobs.c.model_id == filters["model"]).exists()
        )
    if filters.get("received_after") is not None:
        query = query.where(requests.c.received_at > filters["received_after"])
    if filters.get("received_before") is not None:
        query = query.where(requests.c.received_at < filters["received_before"])
    if before is not None:
        query = query.where(requests.c.id < before)
    return list(session.execute(query.order_by(requests.c.id.desc()).limit(limit)))


def mark_in_backbone(session: Connection, request: Row[Any]) -> None:
    """Note that a model's backbone learned from the subject, so that the request cannot end completed."""
    session.execute(update(requests).where(requests.c.id == request.id).values(in_backbone=True))


def related_requests(session: Connection, tenant_id: str, request_ids: Collection[str]) -> dict[str, list[str]]:
    """Return for each request the others about the same owners: linked to it, never a reason to drop it."""
    rows = ask(session, RELATED, tenant=tenant_id, requests=array(request_ids))
    return {row.id: row.related for row in rows}


def about(tenant_id: str, owners: Collection[bytes], *, but: str = "") -> Question:
    """Ask for the requests about these owners, but for one: those whose identifiers sort last."""
    return ABOUT, {"tenant": tenant_id, "owners": array(owners), "but": but}


def owners_of_request(session: Connection, request_id: str) -> list[bytes]:
    query = select(request_owners.c.owner).where(request_owners.c.request_id == request_id)
    return list(session.execute(query.order_by(request_owners.c.owner)).scalars())


def owners_of_requests(session: Connection, request_ids: Collection[str]) -> list[Row[Any]]:
    """Return (request_id, owner) of each owner of these requests, as `owners_of_request` orders them."""
    query = select(request_owners.c.request_id, request_owners.c.owner)
    query = query.where(among(request_owners.c.request_id, request_ids))
    return list(session.execute(query.order_by(request_owners.c.owner)))


def records_of_request(session: Connection, request_id: str, dataset_id: str | None = None) -> list[Row[Any]]:
    query = select(request_records).where(request_records.c.request_id == request_id)
    if dataset_id is not None:
        query = query.where(request_records.c.dataset_id == dataset_id)
    return list(session.execute(query.order_by(request_records.c.dataset_id, request_records.c.record)))


def add_certificate(session: Connection, **values: Any) -> bool:
    """Keep a certificate; False when this promise was certified already."""
    fresh = session.execute(insert(certificates).values(**values).on_conflict_do_nothing()).rowcount == 1
    if fresh:
        shown = {name: values[name] or None for name in ("request_id", "model_id", "version_id", "guarantee")}
        webhooks.announce(
            session,
            Action.CERTIFICATE_ISSUED,
            tenant=values["tenant_id"],
            subject=values["id"],
            sequence=1,
            object="certificate",
            **{name.removesuffix("_id"): value for name, value in shown.items()},
            sha256=values["sha256"],
            log_index=values["log_index"],
            href=f"/v1/certificates/{values['id']}",
        )
    return fresh


def has_certificate(session: Connection, request_id: str, model_id: str, guarantee: Guarantee | None) -> bool:
    query = select(1).where(
        certificates.c.request_id == request_id,
        certificates.c.model_id == model_id,
        certificates.c.guarantee == (guarantee or ""),
    )
    return session.execute(query).first() is not None


def find_certificate(session: Connection, tenant_id: str, certificate_id: str) -> Row[Any] | None:
    query = select(certificates).where(certificates.c.tenant_id == tenant_id, certificates.c.id == certificate_id)
    return session.execute(query).first()


def certificates_of(session: Connection, *request_ids: str) -> list[Row[Any]]:
    query = select(certificates).where(among(certificates.c.request_id, request_ids))
    return list(session.execute(query.order_by(certificates.c.log_index)))


def list_certificates(session: Connection, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    query = select(certificates).where(certificates.c.tenant_id == tenant_id)
    if before is not None:
        query = query.where(certificates.c.id < before)
    return list(session.execute(query.order_by(certificates.c.id.desc()).limit(limit)))


def next_awaiting_retrain_equivalence(session: Connection, model_id: str) -> Row[Any] | None:
    """Return a model's oldest E1 certificate whose request has no E2 certificate yet.

    Second certificates are issued in the order of the first ones, so the newest E2 certificate says how far they got,
    and what lies behind it, however much that is, is never looked at.
    """
    first, second = certificates.alias(), certificates.alias()
    newest = (
        select(second.c.request_id)
        .where(second.c.model_id == model_id, second.c.guarantee == Guarantee.RETRAIN_EQUIVALENT)
        .order_by(second.c.log_index.desc())
        .limit(1)
        .scalar_subquery()
    )
    reached = (
        select(first.c.log_index)
        .where(
            first.c.request_id == newest, first.c.model_id == model_id, first.c.guarantee == Guarantee.INFLUENCE_FREE
        )
        .scalar_subquery()
    )
    query = select(certificates).where(
        certificates.c.model_id == model_id,
        certificates.c.guarantee == Guarantee.INFLUENCE_FREE,
        certificates.c.log_index > func.coalesce(reached, -1),
    )
    return session.execute(query.order_by(certificates.c.log_index).limit(1)).first()


def order_erasures(session: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Write down which keys must die; the ledger outlives the keys, and replays after a restored backup."""
    listed = list(rows)
    if listed:
        session.execute(insert(erasures).on_conflict_do_nothing(), listed)


def open_erasures(session: Connection, request_id: str) -> list[Row[Any]]:
    query = select(erasures).where(erasures.c.request_id == request_id, erasures.c.destroyed_at.is_(None))
    return list(session.execute(query.order_by(erasures.c.key_id)))


def destroyed_keys(session: Connection, request_id: str) -> list[str]:
    query = select(erasures.c.key_id).where(erasures.c.request_id == request_id, erasures.c.destroyed_at.is_not(None))
    return list(session.execute(query.order_by(erasures.c.key_id)).scalars())


def close_erasures(session: Connection, key_ids: Collection[str]) -> None:
    done = (
        update(erasures)
        .where(among(erasures.c.key_id, key_ids), erasures.c.destroyed_at.is_(None))
        .values(destroyed_at=func.clock_timestamp())
        .returning(erasures)
    )
    for row in session.execute(done).all():
        node = row.kind == ErasureKind.NODE
        action = Action.NODE_KEY_DESTROYED if node else Action.DATA_KEY_DESTROYED
        audit.note(session, action, tenant=row.tenant_id, object=row.key_id, request=row.request_id)


def count_erasures(session: Connection, request_id: str) -> dict[str, int]:
    query = (
        select(erasures.c.kind, func.count().label("erased"))
        .where(erasures.c.request_id == request_id, erasures.c.destroyed_at.is_not(None))
        .group_by(erasures.c.kind)
    )
    counted = {row.kind: int(row.erased) for row in session.execute(query)}
    return {kind.value: counted.get(kind.value, 0) for kind in ErasureKind}


def lift_suppression(session: Connection, request: Row[Any]) -> None:
    """Let owners back in whom only this request, which came to nothing, kept out."""
    others = requests.alias()
    kept_out = (
        select(1)
        .select_from(request_owners.join(others, others.c.id == request_owners.c.request_id))
        .where(
            request_owners.c.tenant_id == suppressions.c.tenant_id,
            request_owners.c.owner == suppressions.c.owner,
            others.c.id != request.id,
            others.c.scope_models.is_(None),
            others.c.state.not_in([RequestState.DENIED, RequestState.CANCELLED]),
        )
        .exists()
    )
    mine = select(request_owners.c.owner).where(request_owners.c.request_id == request.id)
    session.execute(
        update(suppressions)
        .where(suppressions.c.tenant_id == request.tenant_id, suppressions.c.owner.in_(mine), ~kept_out)
        .values(released_at=func.clock_timestamp())
    )
