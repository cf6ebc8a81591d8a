"""Deliver events to webhook endpoints: at least once, each attempt by one sender, and nobody waits for a slow receiver.

    claim (commit) ─▶ call, outside of any transaction ─▶ note what came of it (commit)

A claim pushes the next attempt away before anything is sent. Killed after the call and before the note, the same event
is sent again with the same webhook-id once that time has passed: receivers deduplicate, and nothing is lost.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import structlog
from sqlalchemy import Row

from core import metrics
from core.domain.errors import KeyDestroyed
from core.faults import reach
from core.persistence import deliveries, webhooks
from core.use_cases.doors import Doors
from core.use_cases.send_webhook import send_webhook
from core.webhooks.address import Allowed, Resolver, read_allowed, system_resolver
from core.webhooks.delivery import FAILING_DAYS, DisabledReason, EndpointState, Outcome, Trouble
from core.webhooks.event import CONTENT_TYPE, Event, cloud_event
from core.webhooks.standard import signed_headers

log = structlog.get_logger()
SENDERS = 8
"""How many endpoints are called at once; a slow one occupies one of them, for fifteen seconds at most."""
LEASE_SECONDS = 90.0
"""How long an attempt may be under way: a call, a resolver that thinks, and a pause of this machine."""
PATIENCE_SECONDS = 20.0
"""How long one round goes on claiming; its last calls may take fifteen seconds more."""
LOOK_AGAIN_SECONDS = 0.5
"""How often it looks for what became due while slow receivers keep senders busy."""


def deliver_due(doors: Doors, *, most: int = 50, resolve: Resolver = system_resolver) -> int:
    """Attempt what is due now, `most` deliveries at most; return how many attempts were made.

    Raises:
        Unusable: LETHE_WEBHOOK_ALLOWED cannot be read.
    """
    allowed = read_allowed(doors.settings.webhook_allowed)
    give_up = time.monotonic() + PATIENCE_SECONDS
    attempted = 0
    calls: set[Future[None]] = set()
    with ThreadPoolExecutor(SENDERS, thread_name_prefix="webhook") as pool:
        while True:
            while len(calls) < SENDERS and attempted < most and time.monotonic() < give_up:
                claimed = _claim(doors)
                if claimed is None:
                    break
                calls.add(pool.submit(_attempt, doors, claimed, allowed, resolve))
                attempted += 1
            if not calls:
                break
            ended, calls = wait(calls, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
            for call in ended:
                call.result()
    # Also where something is due in every round: old secrets and deliveries do not wait for a quiet moment.
    _tidy(doors)
    return attempted


def _claim(doors: Doors) -> Row[Any] | None:
    with doors.database.transaction() as session:
        return deliveries.claim_due(session, lease=LEASE_SECONDS)


def _attempt(doors: Doors, claimed: Row[Any], allowed: Allowed, resolve: Resolver) -> None:
    reach("before_webhook_sent")
    outcome = _call(doors, claimed, allowed, resolve)
    reach("after_webhook_sent")
    with doors.database.transaction() as session:
        endpoint = deliveries.settle(session, claimed, outcome)
        if endpoint.state == EndpointState.ENABLED:
            if outcome.trouble is Trouble.GONE:
                deliveries.give_up(session, claimed.id)
                webhooks.disable_endpoint(session, endpoint, DisabledReason.GONE)
            elif outcome.trouble and endpoint.failing_seconds > FAILING_DAYS * 86400:
                webhooks.disable_endpoint(session, endpoint, DisabledReason.FAILING)
    metrics.webhook_delivered(outcome.trouble or "success")
    # Never the URL: it may hold a token.
    log.info(
        "webhook.attempted",
        delivery=claimed.id,
        endpoint=claimed.endpoint_id,
        event_id=claimed.event_id,
        attempt=claimed.attempt,
        status=outcome.status,
        trouble=outcome.trouble,
    )


def _call(doors: Doors, claimed: Row[Any], allowed: Allowed, resolve: Resolver) -> Outcome:
    try:
        keys = [doors.keys.get(claimed.secret_key_id), *_old_key(doors, claimed)]
    except KeyDestroyed:
        return Outcome(trouble=Trouble.SECRET_MISSING)
    event = Event(
        id=claimed.event_id,
        type=claimed.type,
        subject=claimed.subject,
        sequence=claimed.sequence,
        at=claimed.happened_at,
        data=claimed.data,
    )
    body = cloud_event(event, source=doors.settings.source)
    # The database's clock: a receiver refuses what this machine's clock might make too old or too new.
    signed = signed_headers(keys, name=event.id, timestamp=int(claimed.now.timestamp()), body=body)
    headers = {"Content-Type": CONTENT_TYPE, "User-Agent": "Lethe-Webhooks", **signed}
    return send_webhook(claimed.url, headers, body, allowed=allowed, resolve=resolve)


def _old_key(doors: Doors, claimed: Row[Any]) -> list[bytes]:
    """Return the key before the last rotation while it signs; another rotation may have ended it this moment."""
    try:
        return [doors.keys.get(claimed.previous_key_id)] if claimed.previous_key_id else []
    except KeyDestroyed:
        return []


def _tidy(doors: Doors) -> None:
    """Destroy secrets whose overlap is over, and forget deliveries that are too old to be asked about."""
    with doors.database.transaction() as session:
        expired = webhooks.expired_keys(session)
    doors.keys.destroy([row.previous_key_id for row in expired])
    with doors.database.transaction() as session:
        for row in expired:
            webhooks.forget_previous_key(session, row.id, row.previous_key_id)
        deliveries.forget_old(session, days=doors.settings.webhook_keep_days)
