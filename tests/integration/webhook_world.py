"""What the webhook tests share: endpoints that hear, and a clock that is set by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Table, func, select, update

from core.persistence.webhooks import webhook_deliveries, webhook_endpoints
from core.use_cases.deliver_webhooks import deliver_due
from core.use_cases.doors import Doors
from core.use_cases.manage_webhooks import EndpointOrder, create_endpoint
from core.webhooks.event import EventType
from tests.integration.world import ADMIN

ALLOWED = "127.0.0.1/32"
EVERYTHING = tuple(EventType)


def hear(doors: Doors, url: str, *types: EventType) -> dict[str, Any]:
    """Make an endpoint that hears these types, or the default ones; return it with its secret."""
    order = EndpointOrder(url=url, types=types) if types else EndpointOrder(url=url)
    return create_endpoint(order, caller=ADMIN, doors=doors)


def make_due(doors: Doors) -> None:
    """Let all pauses and leases be over."""
    past = func.clock_timestamp() - timedelta(seconds=1)
    waiting = webhook_deliveries.c.state == "waiting"
    with doors.database.transaction() as session:
        session.execute(update(webhook_deliveries).where(waiting).values(next_at=past))
        session.execute(update(webhook_endpoints).values(free_at=past))


def deliver(doors: Doors, **more: Any) -> int:
    """Deliver until nothing is due; return how many attempts that took."""
    total = 0
    while made := deliver_due(doors, **more):
        total += made
    return total


def deliveries(doors: Doors, endpoint: dict[str, Any] | None = None) -> list[Row[Any]]:
    query = select(webhook_deliveries).order_by(webhook_deliveries.c.id)
    if endpoint is not None:
        query = query.where(webhook_deliveries.c.endpoint_id == endpoint["id"])
    with doors.database.transaction() as session:
        return list(session.execute(query))


def endpoint_row(doors: Doors, endpoint: dict[str, Any]) -> Row[Any]:
    with doors.database.transaction() as session:
        return session.execute(select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint["id"])).one()


def count(doors: Doors, table: Table) -> int:
    with doors.database.transaction() as session:
        return int(session.execute(select(func.count()).select_from(table)).scalar_one())
