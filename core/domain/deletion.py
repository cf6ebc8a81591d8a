"""The life of a deletion request: a legal duty, which never fails. It ends completed, denied or cancelled.

    received ─┬─approval_required─▶ pending_approval ──approved──▶ scheduled ──started──▶ running ──e1──▶ verifying
              │                        │        │                    ▲                       │              │
              └────────planned─────────┼────────┼────────────────────┘                       ▼              ▼
                                    denied   cancelled                              needs_attention ◀── completed

Trouble is `needs_attention`, with the clock running, and every state before `completed` can reach it and come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.domain.errors import IllegalMove, RequestNotCancellable


class WaiverReason(StrEnum):
    """Why a named person answers for a result that the judge refused."""

    RETRAIN_SCHEDULED = "retrain_scheduled"
    MODEL_RETIRES = "model_retires"
    RISK_ACCEPTED = "risk_accepted"
    EVIDENCE_UNOBTAINABLE = "evidence_unobtainable"


class RequestKind(StrEnum):
    """What is asked for. The two have different targets, so a method for one is none for the other."""

    DATA_DELETION = "data_deletion"
    """The target is a model that never saw the rows."""
    CONCEPT_SUPPRESSION = "concept_suppression"
    """The target is that a behaviour is gone."""


class RequestState(StrEnum):
    RECEIVED = "received"
    PENDING_APPROVAL = "pending_approval"
    ON_HOLD = "on_hold"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    VERIFYING = "verifying"
    NEEDS_ATTENTION = "needs_attention"
    COMPLETED = "completed"
    DENIED = "denied"
    CANCELLED = "cancelled"


class RequestEvent(StrEnum):
    APPROVAL_REQUIRED = "approval_required"
    PLANNED = "planned"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    STARTED = "started"
    INFLUENCE_FREE = "influence_free"
    REPLACED = "replaced"
    """An approximate method's result was accepted and is served; that is no proof of anything."""
    TROUBLED = "troubled"
    RECOVERED = "recovered"
    COMPLETED = "completed"


class WaitReason(StrEnum):
    """Why a request is where it is, in a word that an operator understands at night."""

    APPROVAL = "approval"
    OWNER_IN_BACKBONE = "owner_in_backbone"
    JOB_DEAD = "job_dead"
    JUDGEMENT_REFUSED = "judgement_refused"
    """No method's result was accepted, and nothing else may be tried without a person's word."""


class Result(StrEnum):
    UNLEARNED = "unlearned"
    NEVER_TRAINED = "never_trained"
    SUPPRESSED = "suppressed"
    """Of a concept: its behaviour was suppressed, and no record was deleted for it."""


class CopiesPolicy(StrEnum):
    """What to do about records of other owners whose content is identical to a deleted one (DESIGN §4.1)."""

    REPORT = "report"
    """Leave them, count them in the receipt and certify that copies remain."""
    EXPAND = "expand"
    """Delete them too."""


_S, _E = RequestState, RequestEvent
MOVES = {
    (_S.RECEIVED, _E.APPROVAL_REQUIRED): _S.PENDING_APPROVAL,
    (_S.RECEIVED, _E.PLANNED): _S.SCHEDULED,
    (_S.RECEIVED, _E.COMPLETED): _S.COMPLETED,  # no model ever saw the subject: nothing to switch off
    (_S.PENDING_APPROVAL, _E.APPROVED): _S.SCHEDULED,
    (_S.PENDING_APPROVAL, _E.DENIED): _S.DENIED,
    (_S.RECEIVED, _E.CANCELLED): _S.CANCELLED,
    (_S.PENDING_APPROVAL, _E.CANCELLED): _S.CANCELLED,
    (_S.SCHEDULED, _E.CANCELLED): _S.CANCELLED,
    (_S.SCHEDULED, _E.STARTED): _S.RUNNING,
    (_S.RUNNING, _E.INFLUENCE_FREE): _S.VERIFYING,
    (_S.RUNNING, _E.REPLACED): _S.VERIFYING,
    (_S.VERIFYING, _E.COMPLETED): _S.COMPLETED,
    (_S.SCHEDULED, _E.TROUBLED): _S.NEEDS_ATTENTION,
    (_S.RECEIVED, _E.TROUBLED): _S.NEEDS_ATTENTION,
    (_S.RUNNING, _E.TROUBLED): _S.NEEDS_ATTENTION,
    (_S.VERIFYING, _E.TROUBLED): _S.NEEDS_ATTENTION,
    (_S.NEEDS_ATTENTION, _E.RECOVERED): _S.SCHEDULED,
}
ENDED = frozenset({_S.COMPLETED, _S.DENIED, _S.CANCELLED})


def advance(state: RequestState, event: RequestEvent) -> RequestState:
    """Return the state that follows.

    Raises:
        RequestNotCancellable: it was to be cancelled and has gone too far.
        IllegalMove: the table has no such move.
    """
    try:
        return MOVES[state, event]
    except KeyError:
        if event is RequestEvent.CANCELLED:
            raise RequestNotCancellable(f"the request is {state}") from None
        raise IllegalMove(f"a request that is {state} cannot be {event}") from None


@dataclass(frozen=True)
class DeletedRecord:
    """One record a job must make a model forget, and where the model learned it."""

    record: bytes
    owner: bytes
    shard: int
    slice: int
