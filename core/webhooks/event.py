"""What is told: the types of events, and the CloudEvents 1.0 document that carries one.

An event is thin: identifiers, states and the paths where more can be asked for with an API key. It never says whom a
request is about, not even by reference: a receiver is another organisation's machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical

CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX, TYPE_VERSION = "org.lethe", "v1"
TEST_EVENT = "webhook_endpoint.test"
"""Sent when somebody asks for it; nobody subscribes to it."""


class EventType(StrEnum):
    """What an endpoint may subscribe to; each is also an action of the audit log."""

    DELETION_REQUEST_RECEIVED = "deletion_request.received"
    DELETION_REQUEST_APPROVAL_REQUIRED = "deletion_request.approval_required"
    DELETION_REQUEST_APPROVED = "deletion_request.approved"
    DELETION_REQUEST_SCHEDULED = "deletion_request.scheduled"
    DELETION_REQUEST_STARTED = "deletion_request.started"
    DELETION_REQUEST_INFLUENCE_FREE = "deletion_request.influence_free"
    DELETION_REQUEST_REPLACED = "deletion_request.replaced"
    DELETION_REQUEST_NEEDS_ATTENTION = "deletion_request.needs_attention"
    DELETION_REQUEST_RECOVERED = "deletion_request.recovered"
    DELETION_REQUEST_COMPLETED = "deletion_request.completed"
    DELETION_REQUEST_DENIED = "deletion_request.denied"
    DELETION_REQUEST_CANCELLED = "deletion_request.cancelled"
    CERTIFICATE_ISSUED = "certificate.issued"
    JOB_DEAD = "job.dead"
    WEBHOOK_ENDPOINT_DISABLED = "webhook_endpoint.disabled"


DEFAULT_TYPES = (
    EventType.DELETION_REQUEST_COMPLETED,
    EventType.DELETION_REQUEST_DENIED,
    EventType.DELETION_REQUEST_CANCELLED,
    EventType.DELETION_REQUEST_NEEDS_ATTENTION,
)
"""What an endpoint hears unless it says otherwise: every end, and whatever needs a person."""


@dataclass(frozen=True, kw_only=True)
class Event:
    id: str
    type: str
    """One of `EventType`, or `TEST_EVENT`."""
    subject: str
    """Identifier of the thing that changed."""
    sequence: int
    """Grows with every change of the subject: whoever has seen a higher one may drop this."""
    at: datetime
    data: Mapping[str, Any]


def type_name(short: str) -> str:
    """Return a type as it stands in an event: `org.lethe.deletion_request.completed.v1`."""
    return f"{TYPE_PREFIX}.{short}.{TYPE_VERSION}"


def cloud_event(event: Event, *, source: str) -> bytes:
    """Return the structured-mode JSON of an event, the same bytes each time.

    Args:
        event: what happened.
        source: address of this deployment, a URI reference.
    """
    return canonical(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": source,
            "type": type_name(event.type),
            "subject": event.subject,
            "time": event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "datacontenttype": "application/json",
            "data": {**event.data, "sequence": event.sequence},
        }
    )
