"""Send an event again by hand, or one that says nothing but "this works"."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.errors import WebhookDeliveryNotFound, WebhookEndpointDisabled, WebhookEndpointNotFound
from core.persistence import deliveries, webhooks
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.read_webhooks import describe_delivery
from core.webhooks.delivery import EndpointState


def send_test_event(endpoint_id: str, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Put a test event on its way and answer with its delivery.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
        WebhookEndpointDisabled: nothing is sent there now.
        IdempotencyKeyReused: the key was used for another endpoint.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)

    def send(session: Connection) -> Answer:
        endpoint = webhooks.find_endpoint(session, caller.tenant_id, endpoint_id, lock=True)
        if endpoint is None:
            raise WebhookEndpointNotFound
        if endpoint.state != EndpointState.ENABLED:
            raise WebhookEndpointDisabled
        return _answer(session, caller, deliveries.add_test(session, endpoint))

    return answer_once(doors, caller, once, send)


def resend_delivery(delivery_id: str, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Send a delivery again now, under the same webhook-id, and answer with it; its ten attempts begin anew.

    Raises:
        WebhookDeliveryNotFound: the tenant has none such, or its endpoint is deleted.
        WebhookEndpointDisabled: nothing is sent there now.
        IdempotencyKeyReused: the key was used for another delivery.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)

    def resend(session: Connection) -> Answer:
        known = deliveries.find_delivery(session, caller.tenant_id, delivery_id)
        endpoint = known and webhooks.find_endpoint(session, caller.tenant_id, known.endpoint_id, lock=True)
        if not endpoint:
            raise WebhookDeliveryNotFound
        if endpoint.state != EndpointState.ENABLED:
            raise WebhookEndpointDisabled
        deliveries.resend(session, _found(session, caller, delivery_id))
        return _answer(session, caller, delivery_id)

    return answer_once(doors, caller, once, resend)


def _answer(session: Connection, caller: Caller, delivery_id: str) -> Answer:
    return Answer(status=202, body=describe_delivery(_found(session, caller, delivery_id)))


def _found(session: Connection, caller: Caller, delivery_id: str) -> Row[Any]:
    found = deliveries.find_delivery(session, caller.tenant_id, delivery_id)
    if found is None:
        raise WebhookDeliveryNotFound
    return found
