"""Approve, deny or cancel a deletion request that has not begun; retry one whose jobs gave up."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.deletion import RequestEvent, RequestState, WaitReason
from core.domain.errors import (
    ApproverIsRequester,
    OwnerInBackbone,
    RequestNotCancellable,
    RequestNotFound,
    StaleRowVersion,
)
from core.persistence import checkpoints, jobs, models, requests
from core.use_cases.accept_deletion import schedule
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import note_decision
from core.use_cases.read_requests import describe_request


class Decision(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    CANCEL = "cancel"
    RETRY = "retry"


DECIDED = {
    Decision.APPROVE: RequestState.SCHEDULED,
    Decision.DENY: RequestState.DENIED,
    Decision.CANCEL: RequestState.CANCELLED,
}


def decide_deletion(  # noqa: PLR0913 - which, what, who, how often, where and as seen when
    request_id: str, decision: Decision, *, caller: Caller, once: OnceKey, doors: Doors, seen: int | None = None
) -> Answer:
    """Decide about a request and answer with it.

    Args:
        request_id: which request.
        decision: what to do.
        caller: whoever decides; an approver is never the one who asked.
        once: makes a repeat safe.
        doors: the outside.
        seen: the row version that was looked at (If-Match); None decides about whatever it is now.

    Raises:
        RequestNotFound: the tenant has none such.
        ApproverIsRequester: two persons are needed.
        StaleRowVersion: it changed since it was looked at.
        RequestNotCancellable, IllegalMove: it has gone too far.
        IdempotencyKeyReused: the key was used for another request.
    """
    caller.require(Scope.REQUESTS_CREATE if decision is Decision.CANCEL else Scope.REQUESTS_APPROVE)

    def decide(session: Connection) -> Answer:
        if requests.find_request(session, caller.tenant_id, request_id) is None:
            raise RequestNotFound
        held = jobs.lock_jobs_of_request(session, request_id)
        request = requests.lock_request(session, request_id)
        if seen is not None and seen != request.row_version:
            raise StaleRowVersion
        if decision is Decision.CANCEL:
            _cancel(session, request, held)
        elif decision is Decision.RETRY:
            _retry(session, request, held, doors)
        else:
            _answer(session, request, decision, caller, doors)
        return Answer(status=200, body=describe_request(session, requests.lock_request(session, request_id)))

    answer = answer_once(doors, caller, once, decide)
    if decision is not Decision.RETRY:
        note_decision(doors, request_id, DECIDED[decision])
    return answer


def _answer(session: Connection, request: Row[Any], decision: Decision, caller: Caller, doors: Doors) -> None:
    if request.created_by == caller.key_id:
        raise ApproverIsRequester
    if decision is Decision.DENY:
        requests.move_request(session, request, RequestEvent.DENIED)
        checkpoints.clear_flags(session, request.id)
        requests.lift_suppression(session, request)
        return
    rows = requests.records_of_request(session, request.id)
    affected = models.models_on(session, request.tenant_id, {row.dataset_id for row in rows})
    scope = request.scope_models
    schedule(
        session,
        request,
        [model.id for model in affected if scope is None or model.id in scope],
        RequestEvent.APPROVED,
        attempts=doors.settings.max_attempts,
    )


def _retry(session: Connection, request: Row[Any], held: list[Row[Any]], doors: Doors) -> None:
    """Make new jobs for the models whose jobs gave up."""
    if request.wait_reason == WaitReason.OWNER_IN_BACKBONE:
        raise OwnerInBackbone("register a data set without the owner's public rows, and a model on it")
    newest = {job.subject: job for job in sorted(held, key=lambda job: job.created_at)}
    gave_up = [job.model_id for job in newest.values() if job.state in {"dead", "failed"}]
    attempts = doors.settings.max_attempts
    schedule(session, request, [model for model in gave_up if model], RequestEvent.RECOVERED, attempts=attempts)


def _cancel(session: Connection, request: Row[Any], held: list[Row[Any]]) -> None:
    if request.state == RequestState.SCHEDULED and any(job.state != "waiting" for job in held):
        raise RequestNotCancellable("a worker has begun")
    requests.move_request(session, request, RequestEvent.CANCELLED)
    jobs.cancel_waiting(session, request.id)
    checkpoints.clear_flags(session, request.id)
    requests.lift_suppression(session, request)
