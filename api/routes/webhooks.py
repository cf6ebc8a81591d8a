"""Webhooks: endpoints, what became of deliveries, and, for the reader of the documentation, the call that comes back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, MaybeKey, SeenVersion, answered, needs, once
from api.documentation import BODY, STALE
from api.schemas.common import Page
from api.schemas.webhooks import (
    ANSWERS,
    CloudEvent,
    EndpointBody,
    EndpointChange,
    NewWebhookEndpoint,
    WebhookDelivery,
    WebhookEndpoint,
)
from core.domain.access import Scope
from core.use_cases.manage_webhooks import change_endpoint, create_endpoint, delete_endpoint, rotate_secret
from core.use_cases.read_webhooks import read_deliveries, read_endpoint, read_endpoints
from core.use_cases.resend_webhook import resend_delivery, send_test_event
from core.webhooks.delivery import DeliveryState
from core.webhooks.event import CONTENT_TYPE

ENDPOINTS = "/v1/webhook-endpoints"
router = APIRouter(tags=["webhooks"])
callbacks = APIRouter(tags=["webhooks"])
"""Described, never served: what this service sends to others."""


@router.post(
    ENDPOINTS,
    status_code=201,
    response_model=NewWebhookEndpoint,
    responses=BODY,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Make a webhook endpoint; its secret is shown once",
)
def create(body: EndpointBody, caller: Caller, doors: DoorsDoor, response: Response) -> dict[str, Any]:
    """Begin to send events to a URL. As the answer holds a secret, it is not kept for repeats."""
    made = create_endpoint(body.as_order(), caller=caller, doors=doors)
    response.headers["Location"] = f"{ENDPOINTS}/{made['id']}"
    return _tagged(made, response)


@router.get(
    ENDPOINTS,
    response_model=Page[WebhookEndpoint],
    dependencies=[needs(Scope.WEBHOOKS_READ)],
    summary="List webhook endpoints, newest first",
)
def list_endpoints(caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    return read_endpoints(caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    ENDPOINTS + "/{endpoint_id}",
    response_model=WebhookEndpoint,
    dependencies=[needs(Scope.WEBHOOKS_READ)],
    summary="Look at one webhook endpoint",
)
def get_endpoint(endpoint_id: str, caller: Caller, doors: DoorsDoor, response: Response) -> dict[str, Any]:
    return _tagged(read_endpoint(endpoint_id, caller=caller, doors=doors), response)


@router.patch(
    ENDPOINTS + "/{endpoint_id}",
    response_model=WebhookEndpoint,
    responses=BODY | STALE,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Change what a webhook endpoint hears, or whether it hears anything",
)
def change(
    endpoint_id: str, body: EndpointChange, caller: Caller, doors: DoorsDoor, seen: SeenVersion, response: Response
) -> dict[str, Any]:
    changed = change_endpoint(endpoint_id, body.as_change(), caller=caller, doors=doors, seen=seen)
    return _tagged(changed, response)


@router.delete(
    ENDPOINTS + "/{endpoint_id}",
    status_code=204,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Delete a webhook endpoint and destroy its secret",
)
def delete(endpoint_id: str, caller: Caller, doors: DoorsDoor) -> None:
    delete_endpoint(endpoint_id, caller=caller, doors=doors)


@router.post(
    ENDPOINTS + "/{endpoint_id}:rotate-secret",
    response_model=NewWebhookEndpoint,
    responses=STALE,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Give a webhook endpoint a new secret, shown once",
)
def rotate(endpoint_id: str, caller: Caller, doors: DoorsDoor, seen: SeenVersion, response: Response) -> dict[str, Any]:
    """Both secrets sign until `old_secret_until`. Send If-Match, so that a repeat cannot rotate twice."""
    return _tagged(rotate_secret(endpoint_id, caller=caller, doors=doors, seen=seen), response)


@router.post(
    ENDPOINTS + "/{endpoint_id}:test",
    status_code=202,
    response_model=WebhookDelivery,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Send a test event",
)
def send_test(endpoint_id: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    once_key = once("POST /v1/webhook-endpoints/{endpoint_id}:test", key, endpoint_id.encode())
    return answered(response, send_test_event(endpoint_id, caller=caller, once=once_key, doors=doors))


@router.get(
    ENDPOINTS + "/{endpoint_id}/deliveries",
    response_model=Page[WebhookDelivery],
    dependencies=[needs(Scope.WEBHOOKS_READ)],
    summary="List deliveries to an endpoint, newest first",
)
def list_deliveries(
    endpoint_id: str,
    caller: Caller,
    doors: DoorsDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: DeliveryState | None = None,
) -> dict[str, Any]:
    return read_deliveries(endpoint_id, caller=caller, doors=doors, limit=limit, cursor=cursor, state=state)


@router.post(
    "/v1/webhook-deliveries/{delivery_id}:resend",
    status_code=202,
    response_model=WebhookDelivery,
    dependencies=[needs(Scope.WEBHOOKS_MANAGE)],
    summary="Send a delivery again now, whatever became of it",
)
def resend(delivery_id: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    """Under the same webhook-id: a receiver that has it already drops it."""
    once_key = once("POST /v1/webhook-deliveries/{delivery_id}:resend", key, delivery_id.encode())
    return answered(response, resend_delivery(delivery_id, caller=caller, once=once_key, doors=doors))


@callbacks.post("event", responses=ANSWERS, status_code=204, summary="What a webhook endpoint is sent")
def event(
    body: Annotated[CloudEvent, Body(media_type=CONTENT_TYPE)],
    webhook_id: Annotated[str, Header(description="The event's id, the same on every attempt.")],
    webhook_timestamp: Annotated[int, Header(description="When this attempt was made, in seconds since 1970.")],
    webhook_signature: Annotated[str, Header(description="Standard Webhooks v1; several while a secret is rotated.")],
) -> None:
    """Verify the signature over `id.timestamp.body`, answer 2xx within 15 seconds, and do the work afterwards."""


def _tagged(found: dict[str, Any], response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{found["row_version"]}"'
    return found
