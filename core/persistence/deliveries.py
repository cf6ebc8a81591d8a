"""Deliveries of events: which is due, who sends it, what came of it. All on the database's clock.

Whoever sends holds the endpoint, not only the delivery: `free_at` lies in the future while a call is under way, so one
endpoint is never called twice at once, and a sender that was killed is replaced when that time has passed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.domain.identifiers import new_identifier
from core.persistence import audit
from core.persistence.database import notify
from core.persistence.webhooks import WEBHOOKS_CHANNEL, webhook_deliveries, webhook_endpoints, webhook_events
from core.webhooks.delivery import DeliveryState, EndpointState, Outcome, pause_after
from core.webhooks.event import TEST_EVENT

_D, _E, _V = webhook_deliveries.c, webhook_endpoints.c, webhook_events.c
FORGOTTEN_AT_ONCE = 1000


def claim_due(session: Connection, *, lease: float) -> Row[Any] | None:
    """Take the delivery that is due at the endpoint that has waited longest; None when nothing is due.

    Returns:
        The delivery and, beside it, `now`, `held_until`, `url`, `secret_key_id`, `previous_key_id` (None once it signs
        no more) and the event as `type`, `subject`, `sequence`, `data`, `happened_at`.
    """
    now = func.clock_timestamp()
    due = and_(_D.endpoint_id == _E.id, _D.state == DeliveryState.WAITING, _D.next_at <= now)
    ready = (
        select(webhook_endpoints)
        .where(_E.state == EndpointState.ENABLED, _E.free_at <= now, exists().where(due))
        .order_by(_E.free_at, _E.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (endpoint := session.execute(ready).first()) is not None:
        # Asked anew now that the endpoint is held: what was due a moment ago may have been sent meanwhile.
        mine = webhook_deliveries.alias()
        waits = (mine.c.endpoint_id == endpoint.id, mine.c.state == DeliveryState.WAITING, mine.c.next_at <= now)
        first = select(mine.c.id).where(*waits).order_by(mine.c.next_at, mine.c.id).limit(1).scalar_subquery()
        taken = session.execute(
            update(webhook_deliveries)
            .where(_D.id == first)
            .values(attempt=_D.attempt + 1, next_at=now + timedelta(seconds=lease), last_attempt_at=now)
            .returning(_D.id)
        ).scalar()
        if taken is None:
            continue
        hold = update(webhook_endpoints).where(_E.id == endpoint.id)
        session.execute(hold.values(free_at=now + timedelta(seconds=lease)))
        return session.execute(_claimed(taken)).one()
    return None


def _claimed(delivery_id: str) -> Select[Any]:
    now = func.clock_timestamp()
    previous = case((_E.previous_until > now, _E.previous_key_id))
    return (
        select(
            webhook_deliveries,
            now.label("now"),
            _E.free_at.label("held_until"),
            _E.url,
            _E.secret_key_id,
            previous.label("previous_key_id"),
            _V.type,
            _V.subject,
            _V.sequence,
            _V.data,
            _V.happened_at,
        )
        .join(webhook_endpoints, _E.id == _D.endpoint_id)
        .join(webhook_events, _V.id == _D.event_id)
        .where(_D.id == delivery_id)
    )


def settle(session: Connection, claimed: Row[Any], outcome: Outcome) -> Row[Any]:
    """Note what came of an attempt, let go of the endpoint and return it, held, with `failing_seconds`.

    A success counts whoever reports it; a failure only while nobody else has taken the delivery over.
    """
    now = func.clock_timestamp()
    well = outcome.trouble is None
    endpoint = session.execute(
        update(webhook_endpoints)
        .where(_E.id == claimed.endpoint_id)
        .values(
            failing_since=None if well else func.coalesce(_E.failing_since, now),
            # Unless another sender holds it by now.
            free_at=case((_E.free_at == claimed.held_until, now), else_=_E.free_at),
        )
        .returning(webhook_endpoints, func.extract("epoch", now - _E.failing_since).label("failing_seconds"))
    ).one()
    pause = None if well or endpoint.state == EndpointState.DELETED else pause_after(claimed.attempt)
    values: dict[str, Any] = {"last_status": outcome.status, "last_trouble": outcome.trouble}
    if well:
        values |= {"state": DeliveryState.SUCCEEDED, "ended_at": now}
    elif pause is None:
        values |= {"state": DeliveryState.FAILED, "ended_at": now}
    else:
        values |= {"next_at": now + timedelta(seconds=pause) * (1 + func.random() / 10)}
    noted = update(webhook_deliveries).where(_D.id == claimed.id, _D.state == DeliveryState.WAITING)
    if not well:
        noted = noted.where(_D.attempt == claimed.attempt)
    session.execute(noted.values(**values))
    return endpoint


def give_up(session: Connection, delivery_id: str) -> None:
    """End a delivery that will not be tried again."""
    session.execute(
        update(webhook_deliveries)
        .where(_D.id == delivery_id, _D.state == DeliveryState.WAITING)
        .values(state=DeliveryState.FAILED, ended_at=func.clock_timestamp())
    )


def add_test(session: Connection, endpoint: Row[Any]) -> str:
    """Put a test event on its way to one endpoint; return the delivery's identifier."""
    event_id, delivery_id = new_identifier("evt"), new_identifier("wd")
    data = {"id": endpoint.id, "object": "webhook_endpoint", "href": f"/v1/webhook-endpoints/{endpoint.id}"}
    common = {"tenant_id": endpoint.tenant_id}
    session.execute(
        insert(webhook_events).values(
            **common, id=event_id, type=TEST_EVENT, subject=endpoint.id, sequence=endpoint.row_version, data=data
        )
    )
    session.execute(
        insert(webhook_deliveries).values(
            **common, id=delivery_id, event_id=event_id, endpoint_id=endpoint.id, state=DeliveryState.WAITING
        )
    )
    notify(session, WEBHOOKS_CHANNEL, "")
    return delivery_id


def find_delivery(session: Connection, tenant_id: str, delivery_id: str) -> Row[Any] | None:
    return session.execute(_shown(tenant_id).where(_D.id == delivery_id)).first()


def list_deliveries(
    session: Connection, endpoint: Row[Any], *, limit: int, before: str | None, state: str | None = None
) -> list[Row[Any]]:
    """Return an endpoint's deliveries with their events, newest first."""
    query = _shown(endpoint.tenant_id).where(_D.endpoint_id == endpoint.id)
    if state is not None:
        query = query.where(_D.state == state)
    if before is not None:
        query = query.where(_D.id < before)
    return list(session.execute(query.order_by(_D.id.desc()).limit(limit)))


def _shown(tenant_id: str) -> Select[Any]:
    event = (_V.type, _V.subject, _V.sequence, _V.happened_at)
    joined = select(webhook_deliveries, *event).join(webhook_events, _V.id == _D.event_id)
    return joined.where(_D.tenant_id == tenant_id)


def resend(session: Connection, delivery: Row[Any]) -> None:
    """Send a delivery again now, whatever became of it; the caller holds its endpoint."""
    session.execute(
        update(webhook_deliveries)
        .where(_D.id == delivery.id)
        .values(state=DeliveryState.WAITING, attempt=0, next_at=func.clock_timestamp(), ended_at=None)
    )
    notify(session, WEBHOOKS_CHANNEL, "")
    audit.note(
        session,
        Action.WEBHOOK_DELIVERY_RESENT,
        tenant=delivery.tenant_id,
        object=delivery.id,
        before=delivery.state,
        after=DeliveryState.WAITING,
        endpoint=delivery.endpoint_id,
    )


def forget_old(session: Connection, *, days: int) -> int:
    """Delete deliveries older than that, a thousand at most, and events that no delivery names; return how many."""
    limit = func.clock_timestamp() - timedelta(days=days)
    old = select(_D.id).where(_D.created_at < limit).limit(FORGOTTEN_AT_ONCE)
    gone = session.execute(delete(webhook_deliveries).where(_D.id.in_(old))).rowcount
    lonely = select(_V.id).where(_V.happened_at < limit, ~exists().where(_D.event_id == _V.id))
    session.execute(delete(webhook_events).where(_V.id.in_(lonely.limit(FORGOTTEN_AT_ONCE))))
    return gone


def drop_waiting(session: Connection, endpoint_id: str) -> None:
    """End what was still to be sent to an endpoint that is deleted."""
    session.execute(
        update(webhook_deliveries)
        .where(_D.endpoint_id == endpoint_id, _D.state == DeliveryState.WAITING)
        .values(state=DeliveryState.FAILED, ended_at=func.clock_timestamp())
    )
