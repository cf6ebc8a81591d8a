"""Make, change, rotate and delete webhook endpoints. A secret is shown once, and kept in the key store alone.

A key is durable in the key store before the database names it, and destroyed only after the database does so no more:
killed in between, one key is left that nothing names, which `lethe fsck` finds.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, text

from core.audit.entry import Action, Actor, ActorKind
from core.domain.access import Caller, Scope
from core.domain.errors import (
    NameUnresolved,
    StaleRowVersion,
    TooManyWebhookEndpoints,
    WebhookEndpointNotFound,
)
from core.domain.identifiers import new_identifier
from core.persistence import deliveries, webhooks
from core.use_cases.doors import Doors
from core.use_cases.read_webhooks import describe_endpoint
from core.webhooks.address import Resolver, addresses_of, read_allowed, system_resolver, target_of
from core.webhooks.delivery import DisabledReason, EndpointState
from core.webhooks.event import DEFAULT_TYPES, EventType
from core.webhooks.standard import KEY_BYTES, written_secret

MOST_ENDPOINTS = 32
"""Per tenant: each one is written to inside the transaction of a deletion."""


@dataclass(frozen=True)
class EndpointOrder:
    """What a caller asks for."""

    url: str
    types: Sequence[EventType] = DEFAULT_TYPES
    description: str | None = None


@dataclass(frozen=True)
class Change:
    """What is to be different; None leaves a thing as it is."""

    types: Sequence[EventType] | None = None
    description: str | None = None
    enabled: bool | None = None


def create_endpoint(
    order: EndpointOrder, *, caller: Caller, doors: Doors, resolve: Resolver = system_resolver
) -> dict[str, Any]:
    """Make an endpoint and return it with its secret. A name that leads nowhere yet is taken: each call looks again.

    Raises:
        AddressRefused: events are not sent there.
        TooManyWebhookEndpoints: the tenant has enough.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)
    target, allowed = target_of(order.url), read_allowed(doors.settings.webhook_allowed)
    try:
        addresses_of(target, allowed=allowed, resolve=resolve)
    except NameUnresolved:
        if target.scheme != "https" and target.host not in allowed.names:
            raise
    key_id, key = _new_key(doors)
    with doors.database.transaction(_actor(caller)) as session:
        _take_turn(session, caller.tenant_id)
        if webhooks.count_endpoints(session, caller.tenant_id) >= MOST_ENDPOINTS:
            doors.keys.destroy([key_id])
            raise TooManyWebhookEndpoints
        endpoint_id = new_identifier("we")
        webhooks.add_endpoint(
            session,
            tenant_id=caller.tenant_id,
            id=endpoint_id,
            url=order.url,
            description=order.description,
            types=list(dict.fromkeys(order.types)),
            secret_key_id=key_id,
        )
        return describe_endpoint(_held(session, caller, endpoint_id)) | {"secret": written_secret(key)}


def change_endpoint(
    endpoint_id: str, change: Change, *, caller: Caller, doors: Doors, seen: int | None = None
) -> dict[str, Any]:
    """Change an endpoint and return it. Enabling it sends what was collected while it was disabled.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
        StaleRowVersion: it changed since it was looked at.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)
    with doors.database.transaction(_actor(caller)) as session:
        endpoint = _held(session, caller, endpoint_id, seen)
        values: dict[str, Any] = {}
        if change.types is not None:
            values["types"] = list(dict.fromkeys(change.types))
        if change.description is not None:
            values["description"] = change.description or None
        if values:
            endpoint = webhooks.change_endpoint(session, endpoint, Action.WEBHOOK_ENDPOINT_CHANGED, **values)
        return describe_endpoint(_switched(session, endpoint, enabled=change.enabled))


def _switched(session: Connection, endpoint: Row[Any], *, enabled: bool | None) -> Row[Any]:
    if enabled and endpoint.state == EndpointState.DISABLED:
        fresh = {"state": EndpointState.ENABLED, "disabled_reason": None, "failing_since": None}
        return webhooks.change_endpoint(session, endpoint, Action.WEBHOOK_ENDPOINT_ENABLED, **fresh)
    if enabled is False and endpoint.state == EndpointState.ENABLED:
        return webhooks.disable_endpoint(session, endpoint, DisabledReason.BY_HAND)
    return endpoint


def rotate_secret(endpoint_id: str, *, caller: Caller, doors: Doors, seen: int | None = None) -> dict[str, Any]:
    """Give an endpoint a new secret and return it; the old one signs beside it for some hours more.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
        StaleRowVersion: it changed since it was looked at; so a repeat cannot rotate twice.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)
    key_id, key = _new_key(doors)
    try:
        with doors.database.transaction(_actor(caller)) as session:
            endpoint = _held(session, caller, endpoint_id, seen)
            changed = webhooks.change_endpoint(
                session,
                endpoint,
                Action.WEBHOOK_ENDPOINT_SECRET_ROTATED,
                secret_key_id=key_id,
                previous_key_id=endpoint.secret_key_id,
                previous_until=func.clock_timestamp() + timedelta(hours=doors.settings.webhook_overlap_hours),
            )
    except (WebhookEndpointNotFound, StaleRowVersion):
        doors.keys.destroy([key_id])
        raise
    if endpoint.previous_key_id is not None:  # two rotations within the overlap: the oldest secret ends now
        doors.keys.destroy([endpoint.previous_key_id])
    return describe_endpoint(changed) | {"secret": written_secret(key)}


def delete_endpoint(endpoint_id: str, *, caller: Caller, doors: Doors) -> None:
    """Delete an endpoint, what was still to be sent to it, and its secrets.

    Raises:
        WebhookEndpointNotFound: the tenant has none such.
    """
    caller.require(Scope.WEBHOOKS_MANAGE)
    with doors.database.transaction(_actor(caller)) as session:
        endpoint = _held(session, caller, endpoint_id)
        gone = {"state": EndpointState.DELETED, "url": "", "description": None}
        keyless = {"previous_key_id": None, "previous_until": None}
        webhooks.change_endpoint(session, endpoint, Action.WEBHOOK_ENDPOINT_DELETED, **gone, **keyless)
        deliveries.drop_waiting(session, endpoint_id)
    doors.keys.destroy([key for key in (endpoint.secret_key_id, endpoint.previous_key_id) if key is not None])


def _held(session: Connection, caller: Caller, endpoint_id: str, seen: int | None = None) -> Row[Any]:
    endpoint = webhooks.find_endpoint(session, caller.tenant_id, endpoint_id, lock=True)
    if endpoint is None:
        raise WebhookEndpointNotFound
    if seen is not None and seen != endpoint.row_version:
        raise StaleRowVersion
    return endpoint


def _new_key(doors: Doors) -> tuple[str, bytes]:
    key_id, key = new_identifier("whk"), secrets.token_bytes(KEY_BYTES)
    doors.keys.put(key_id, key)
    return key_id, key


def _take_turn(session: Connection, tenant_id: str) -> None:
    """Let endpoints of one tenant be made one after another, so that they can be counted."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('lethe webhooks ' || :tenant))"), {"tenant": tenant_id})


def _actor(caller: Caller) -> Actor:
    return Actor(ActorKind.CLIENT, caller.key_id)
