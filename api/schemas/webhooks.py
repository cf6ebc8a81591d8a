"""Webhooks on the wire: endpoints, deliveries, and the event that a receiver is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Shown, Time
from core.use_cases.manage_webhooks import Change, EndpointOrder
from core.webhooks.address import LONGEST_URL
from core.webhooks.delivery import DeliveryState, DisabledReason, Trouble
from core.webhooks.event import DEFAULT_TYPES, EventType

Types = Annotated[
    list[EventType],
    Field(min_length=1, examples=[["deletion_request.completed", "deletion_request.needs_attention"]]),
]
Description = Annotated[str, Field(pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$", examples=["governance"])]


class EndpointBody(BaseModel):
    """Where to send events, and which."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"url": "https://governance.example.org/hooks/lethe"}]},
    )

    url: str = Field(
        max_length=LONGEST_URL,
        examples=["https://governance.example.org/hooks/lethe"],
        description="https, and a public address unless the operator allows others.",
    )
    types: Types = Field(default=list(DEFAULT_TYPES), description="Default: every end, and needs_attention.")
    description: Description | None = None

    def as_order(self) -> EndpointOrder:
        return EndpointOrder(url=self.url, types=tuple(self.types), description=self.description or None)


class EndpointChange(BaseModel):
    """What is to be different; what is absent stays. To change the URL, make another endpoint."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    types: Types | None = None
    description: Description | None = Field(default=None, description="Empty: none.")
    enabled: bool | None = Field(
        default=None, description="What happens while an endpoint is disabled is sent once it is enabled again."
    )

    def as_change(self) -> Change:
        types = None if self.types is None else tuple(self.types)
        return Change(types=types, description=self.description, enabled=self.enabled)


class WebhookEndpoint(Shown):
    """A receiver of events; its secret is not known any more."""

    id: str = Field(examples=["we_01kt3v8y6mxv0e7q8j9d2s4f5g"])
    object: Literal["webhook_endpoint"]
    url: str
    description: str | None
    types: list[EventType]
    enabled: bool
    disabled_reason: DisabledReason | None
    failing_since: Time | None = Field(description="When the first failure came after the last success.")
    old_secret_until: Time | None = Field(description="Until when the secret before the last rotation signs too.")
    row_version: int = Field(description="The ETag, for If-Match.")
    created_at: Time
    updated_at: Time


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint at the only moment when its secret is known."""

    secret: str = Field(description="Shown this once.", examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])


class DeliveredEvent(Shown):
    id: str = Field(examples=["evt_01kt3v8y6mxv0e7q8j9d2s4f5g"], description="The webhook-id.")
    type: str = Field(examples=["org.lethe.deletion_request.completed.v1"])
    subject: str
    sequence: int
    time: Time


class WebhookDelivery(Shown):
    """One event on its way to one endpoint. What the receiver answered beyond its status is not kept."""

    id: str = Field(examples=["wd_01kt3v8y6mxv0e7q8j9d2s4f5g"])
    object: Literal["webhook_delivery"]
    endpoint: str
    event: DeliveredEvent
    state: DeliveryState
    attempts: int
    last_status: int | None
    last_trouble: Trouble | None
    next_at: Time | None = Field(description="When it is tried next; null when it has ended.")
    created_at: Time
    last_attempt_at: Time | None
    ended_at: Time | None


class EventData(Shown):
    """What changed. Which other fields there are depends on the type; none says whom a request is about."""

    id: str
    object: Literal["deletion_request", "certificate", "job", "webhook_endpoint"]
    href: str = Field(examples=["/v1/deletion-requests/dr_01kt3v8y6mxv0e7q8j9d2s4f5g"])
    sequence: int = Field(description="Grows with every change of the subject; drop an event with a lower one.")


class CloudEvent(Shown):
    """An event in CloudEvents 1.0 structured mode."""

    specversion: Literal["1.0"]
    id: str = Field(description="The same on every attempt, as in the webhook-id header: deduplicate on it.")
    source: str = Field(examples=["https://lethe.example.org"])
    type: str = Field(examples=["org.lethe.deletion_request.completed.v1"])
    subject: str
    time: Time
    datacontenttype: Literal["application/json"]
    data: EventData

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "evt_01kt3v8y6mxv0e7q8j9d2s4f5g",
                    "source": "https://lethe.example.org",
                    "type": "org.lethe.deletion_request.completed.v1",
                    "subject": "dr_01kt3v8y6mxv0e7q8j9d2s4f5g",
                    "time": "2026-11-20T10:31:07.123456Z",
                    "datacontenttype": "application/json",
                    "data": {
                        "id": "dr_01kt3v8y6mxv0e7q8j9d2s4f5g",
                        "object": "deletion_request",
                        "state": "completed",
                        "wait_reason": None,
                        "result": "unlearned",
                        "external_id": "case-991",
                        "href": "/v1/deletion-requests/dr_01kt3v8y6mxv0e7q8j9d2s4f5g",
                        "certificates": ["/v1/certificates/crt_01kt3v8y6mxv0e7q8j9d2s4f5g"],
                        "sequence": 5,
                    },
                }
            ]
        }
    )


Documented = dict[int | str, dict[str, Any]]
ANSWERS: Documented = {
    "2XX": {"description": "Received. Anything else is tried again."},
    "410": {"description": "Do not call again: the endpoint is disabled."},
    "4XX": {"description": "Tried again, ten times in about three days."},
}
"""What a receiver may answer."""
