"""Show webhook endpoints and what became of every delivery. Secrets are not known any more; answers are not kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.domain.access import Caller, Scope
from core.domain.errors import WebhookEndpointNotFound
from core.persistence import deliveries, webhooks
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor
from core.webhooks.delivery import EndpointState
from core.webhooks.event import type_name


def read_endpoints(*, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of endpoints, newest first."""
    caller.require(Scope.WEBHOOKS_READ)
    before = read_cursor(cursor, of="webhook_endpoints")
    with doors.database.transaction() as session:
        rows = webhooks.list_endpoints(session, caller.tenant_id, limit=limit + 1, before=before)
    return page([describe_endpoint(row) for row in rows], of="webhook_endpoints", limit=limit)


def read_endpoint(endpoint_id: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one endpoint.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
    """
    caller.require(Scope.WEBHOOKS_READ)
    with doors.database.transaction() as session:
        row = webhooks.find_endpoint(session, caller.tenant_id, endpoint_id)
    if row is None:
        raise WebhookEndpointNotFound
    return describe_endpoint(row)


def read_deliveries(  # noqa: PLR0913 - which, who, where, and which part of the list
    endpoint_id: str, *, caller: Caller, doors: Doors, limit: int, cursor: str | None, state: str | None = None
) -> dict[str, Any]:
    """Return a page of an endpoint's deliveries, newest first.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
    """
    caller.require(Scope.WEBHOOKS_READ)
    filters = {"endpoint": endpoint_id, "state": state}
    before = read_cursor(cursor, of="deliveries", filters=filters)
    with doors.database.transaction() as session:
        endpoint = webhooks.find_endpoint(session, caller.tenant_id, endpoint_id)
        if endpoint is None:
            raise WebhookEndpointNotFound
        rows = deliveries.list_deliveries(session, endpoint, limit=limit + 1, before=before, state=state)
    return page([describe_delivery(row) for row in rows], of="deliveries", limit=limit, filters=filters)


def describe_endpoint(row: Row[Any]) -> dict[str, Any]:
    """Return an endpoint as the API shows it."""
    return {
        "id": row.id,
        "object": "webhook_endpoint",
        "url": row.url,
        "description": row.description,
        "types": row.types,
        "enabled": row.state == EndpointState.ENABLED,
        "disabled_reason": row.disabled_reason,
        "failing_since": moment(row.failing_since),
        "old_secret_until": moment(row.previous_until),
        "row_version": row.row_version,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def describe_delivery(row: Row[Any]) -> dict[str, Any]:
    """Return a delivery as the API shows it."""
    event = {
        "id": row.event_id,
        "type": type_name(row.type),
        "subject": row.subject,
        "sequence": row.sequence,
        "time": moment(row.happened_at),
    }
    return {
        "id": row.id,
        "object": "webhook_delivery",
        "endpoint": row.endpoint_id,
        "event": event,
        "state": row.state,
        "attempts": row.attempt,
        "last_status": row.last_status,
        "last_trouble": row.last_trouble,
        "next_at": moment(row.next_at) if row.state == "waiting" else None,
        "created_at": moment(row.created_at),
        "last_attempt_at": moment(row.last_attempt_at),
        "ended_at": moment(row.ended_at),
    }
