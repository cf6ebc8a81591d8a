"""Webhook endpoints, and the outbox: events that somebody wants to hear, each with one delivery per endpoint.

Whoever changes a state announces it with `announce`; the transaction's door writes all that was announced with one
statement as it commits. So no event is told that did not happen, and none that happened is lost. Where nobody listens,
that statement writes nothing. The secrets are not here: an endpoint names keys of the key store.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
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
from core.domain.identifiers import new_identifier
from core.persistence import audit, round_trips
from core.persistence.tables import json_column, metadata, one_of, tenant_column, time_column
from core.webhooks.delivery import DeliveryState, DisabledReason, EndpointState, Trouble
from core.webhooks.event import TEST_EVENT, EventType

WEBHOOKS_CHANNEL = "lethe_webhooks"
"""Rung when deliveries became due."""
_ANNOUNCED = "lethe_announced"
_KNOWN_TYPES = ", ".join(f"'{kind.value}'" for kind in EventType)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False, comment="empty once it is deleted: it may hold a token"),
    Column("description", Text, nullable=True),
    Column("types", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("disabled_reason", Text, nullable=True),
    Column("secret_key_id", Text, nullable=False),
    Column("previous_key_id", Text, nullable=True),
    time_column("previous_until", nullable=True),
    time_column("failing_since", nullable=True),
    time_column("free_at"),
    Column("row_version", Integer, nullable=False, default=1),
    time_column("created_at"),
    time_column("updated_at"),
    one_of("state", EndpointState),
    one_of("disabled_reason", DisabledReason),
    CheckConstraint(f"types <@ ARRAY[{_KNOWN_TYPES}]", name="types_known"),
    Index("webhook_endpoints_by_tenant", "tenant_id", "id"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    json_column("data"),
    time_column("happened_at"),
    CheckConstraint(f"type IN ({_KNOWN_TYPES}, '{TEST_EVENT}')", name="type_known"),
    Index("webhook_events_by_age", "happened_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("endpoint_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    time_column("next_at"),
    Column("last_status", Integer, nullable=True),
    Column("last_trouble", Text, nullable=True),
    time_column("created_at"),
    time_column("last_attempt_at", nullable=True),
    time_column("ended_at", nullable=True),
    one_of("state", DeliveryState),
    one_of("last_trouble", Trouble),
    UniqueConstraint("event_id", "endpoint_id", name="webhook_deliveries_one_per_endpoint"),
    Index("webhook_deliveries_due", "endpoint_id", "next_at", postgresql_where=text("state = 'waiting'")),
    Index("webhook_deliveries_by_endpoint", "endpoint_id", "id"),
    Index("webhook_deliveries_by_age", "created_at"),
)

WRITE = "SELECT announce_events(%(announced)s::jsonb)"
"""A function of the database (`migrations/versions/2026_11_21_pre_intake.py`): where nobody listens, it looks no further."""


def begin(session: Connection) -> None:
    """Start collecting for a transaction."""
    session.info[_ANNOUNCED] = []


def announce(session: Connection, kind: str, /, *, tenant: str, subject: str, sequence: int, **data: Any) -> None:
    """Tell whoever subscribed to this type, when and if this transaction commits.

    Args:
        session: the transaction whose fate the event shares.
        kind: one of `EventType`.
        tenant: whose endpoints hear it.
        subject: identifier of the thing that changed.
        sequence: grows with every change of the subject.
        data: identifiers, states and paths; never an identity, nor a reference to one.
    """
    event = {"id": new_identifier("evt"), "tenant_id": tenant, "type": EventType(kind), "subject": subject}
    session.info[_ANNOUNCED].append({**event, "sequence": sequence, "data": {"id": subject, **data}})


def flush(session: Connection) -> None:
    """Have what was announced so far written, for those who listen. The transaction's door calls this before the log's."""
    announced, session.info[_ANNOUNCED] = session.info[_ANNOUNCED], []
    if announced:
        round_trips.later(session, WRITE, {"announced": json.dumps(announced)})


def add_endpoint(session: Connection, **values: Any) -> None:
    session.execute(insert(webhook_endpoints).values(**values, state=EndpointState.ENABLED))
    audit.note(
        session,
        Action.WEBHOOK_ENDPOINT_CREATED,
        tenant=values["tenant_id"],
        object=values["id"],
        after=EndpointState.ENABLED,
        types=list(values["types"]),
    )


def find_endpoint(session: Connection, tenant_id: str, endpoint_id: str, *, lock: bool = False) -> Row[Any] | None:
    """Return an endpoint that is not deleted; with `lock`, hold it: before its deliveries, as every writer does."""
    query = select(webhook_endpoints).where(
        webhook_endpoints.c.tenant_id == tenant_id,
        webhook_endpoints.c.id == endpoint_id,
        webhook_endpoints.c.state != EndpointState.DELETED,
    )
    return session.execute(query.with_for_update() if lock else query).first()


def list_endpoints(session: Connection, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    query = select(webhook_endpoints).where(
        webhook_endpoints.c.tenant_id == tenant_id, webhook_endpoints.c.state != EndpointState.DELETED
    )
    if before is not None:
        query = query.where(webhook_endpoints.c.id < before)
    return list(session.execute(query.order_by(webhook_endpoints.c.id.desc()).limit(limit)))


def count_endpoints(session: Connection, tenant_id: str) -> int:
    query = select(func.count()).where(
        webhook_endpoints.c.tenant_id == tenant_id, webhook_endpoints.c.state != EndpointState.DELETED
    )
    return int(session.execute(query).scalar_one())


def change_endpoint(session: Connection, endpoint: Row[Any], action: Action, **values: Any) -> Row[Any]:
    """Change a held endpoint, note it, and return it as it is now."""
    changed = session.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint.id)
        .values(row_version=webhook_endpoints.c.row_version + 1, updated_at=func.clock_timestamp(), **values)
        .returning(webhook_endpoints)
    ).one()
    audit.note(
        session,
        action,
        tenant=changed.tenant_id,
        object=changed.id,
        before=endpoint.state,
        after=changed.state,
        types=list(values["types"]) if "types" in values else None,
    )
    return changed


def disable_endpoint(session: Connection, endpoint: Row[Any], reason: DisabledReason) -> Row[Any]:
    """Stop calling a held endpoint, and tell the tenant's other endpoints."""
    changed = change_endpoint(
        session,
        endpoint,
        Action.WEBHOOK_ENDPOINT_DISABLED,
        state=EndpointState.DISABLED,
        disabled_reason=reason,
    )
    announce(
        session,
        EventType.WEBHOOK_ENDPOINT_DISABLED,
        tenant=endpoint.tenant_id,
        subject=endpoint.id,
        sequence=changed.row_version,
        object="webhook_endpoint",
        state=changed.state,
        reason=reason,
        href=f"/v1/webhook-endpoints/{endpoint.id}",
    )
    return changed


def expired_keys(session: Connection) -> list[Row[Any]]:
    """Return endpoints whose old secret signs no longer, and name the key that may be destroyed."""
    query = select(webhook_endpoints.c.id, webhook_endpoints.c.previous_key_id).where(
        webhook_endpoints.c.previous_until < func.clock_timestamp()
    )
    return list(session.execute(query))


def forget_previous_key(session: Connection, endpoint_id: str, key_id: str) -> None:
    session.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.previous_key_id == key_id)
        .values(previous_key_id=None, previous_until=None)
    )
