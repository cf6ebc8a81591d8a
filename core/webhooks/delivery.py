"""The life of a delivery (one event for one endpoint): when it is tried, what an answer means, when it is given up.

waiting ──2xx──▶ succeeded
   │  └──anything else──▶ waiting, after a pause
   └──tried ten times, or 410──▶ failed          (a person may have either sent again)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PAUSES = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds before each attempt, counted from the attempt before; a tenth of it at most is added by chance."""
FAILING_DAYS = 5
"""After so many days without one success an endpoint is disabled."""


class EndpointState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


class DisabledReason(StrEnum):
    GONE = "gone"
    """It answered 410: the receiver asks not to be called again."""
    FAILING = "failing"
    BY_HAND = "by_hand"


class DeliveryState(StrEnum):
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Trouble(StrEnum):
    """Why an attempt failed, in a word; what the receiver said is not kept."""

    STATUS = "status"
    REDIRECT = "redirect"
    GONE = "gone"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    BROKEN_ANSWER = "broken_answer"
    NAME_UNRESOLVED = "name_unresolved"
    ADDRESS_REFUSED = "address_refused"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, no secret


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt: the HTTP status if there was one, and the trouble if there was any."""

    status: int | None = None
    trouble: Trouble | None = None


def outcome_of(status: int) -> Outcome:
    """Say what an answer means. A redirect is a failure: following it would lead past the guard."""
    if 200 <= status < 300:  # noqa: PLR2004
        return Outcome(status)
    if status == 410:  # noqa: PLR2004
        return Outcome(status, Trouble.GONE)
    return Outcome(status, Trouble.REDIRECT if 300 <= status < 400 else Trouble.STATUS)  # noqa: PLR2004


def pause_after(attempt: int) -> int | None:
    """Return the seconds until the next attempt when `attempt` of them were made; None when that was the last."""
    return PAUSES[attempt] if attempt < len(PAUSES) else None
