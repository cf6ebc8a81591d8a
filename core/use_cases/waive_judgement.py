"""Let a named person answer for a judgement that is no pass: the candidate is served, and the certificate says who said so.

The judgement stays what it is. The waiver holds its digest and the policy's, and covers one attempt on one model; it is in
the log before anything is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.deletion import RequestEvent, WaitReason, WaiverReason
from core.domain.errors import NothingToWaive, RequestNotFound
from core.persistence import checkpoints, jobs, models, requests, versions
from core.persistence.database import clock
from core.use_cases.accept_deletion import schedule
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.read_requests import describe_request
from core.verification.verdict import Ending
from core.verification.waiver import Waiver


@dataclass(frozen=True, kw_only=True)
class WaiverOrder:
    """What a person takes responsibility for."""

    model: str
    """Id or name."""
    reason: WaiverReason
    attempt: int | None = None
    """Number; None: the newest that left something to serve."""


def waive_judgement(request_id: str, order: WaiverOrder, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Waive one attempt's judgement and have its candidate served.

    Raises:
        RequestNotFound: the tenant has none such.
        NothingToWaive: the request does not wait for that, or no candidate of it stands on what is served.
    """
    caller.require(Scope.REQUESTS_APPROVE)

    def waive(session: Connection) -> Answer:
        if requests.find_request(session, caller.tenant_id, request_id) is None:
            raise RequestNotFound
        jobs.lock_jobs_of_request(session, request_id)
        request = requests.lock_request(session, request_id)
        if request.wait_reason != WaitReason.JUDGEMENT_REFUSED:
            raise NothingToWaive("the request does not wait because a judgement was refused")
        model = models.find_model(session, caller.tenant_id, order.model)
        attempt = None if model is None else _attempt(session, request, model, order)
        if model is None or attempt is None:
            raise NothingToWaive("no attempt on that model left anything to serve")
        _write(session, request, model, attempt, order, caller)
        schedule(session, request, [model.id], RequestEvent.RECOVERED, attempts=doors.settings.max_attempts)
        return Answer(status=200, body=describe_request(session, requests.lock_request(session, request_id)))

    return answer_once(doors, caller, once, waive)


def _attempt(session: Connection, request: Row[Any], model: Row[Any], order: WaiverOrder) -> Row[Any] | None:
    live = versions.live_version(session, model.id)
    fitting = {
        row.job_id
        for row in checkpoints.runs_for(session, model.id, request.id)
        if live is not None and row.base_version == live.id
    }
    left = {(row.job_id, row.attempt) for row in checkpoints.candidates_for(session, model.id, request.id)}
    found = [
        row
        for row in checkpoints.attempts_for(session, request.id, model.id)
        if row.job_id in fitting
        and (row.job_id, row.number) in left
        and row.account["judgement"] is not None
        and not row.account["integrity"]
        and order.attempt in {None, row.number}
    ]
    return found[-1] if found else None


def _write(  # noqa: PLR0913, PLR0917
    session: Connection, request: Row[Any], model: Row[Any], attempt: Row[Any], order: WaiverOrder, caller: Caller
) -> None:
    account = attempt.account
    waiver = Waiver(
        waived_by=caller.key_id,
        reason=order.reason,
        ending=Ending(account["ending"]),
        judgement_digest=account["judgement_digest"],
        policy_digest=account["judgement"]["policy_digest"],
        waived_at=clock(session),
    )
    checkpoints.add_waiver(
        session,
        tenant_id=request.tenant_id,
        digest=waiver.digest(),
        request_id=request.id,
        model_id=model.id,
        job_id=attempt.job_id,
        attempt=attempt.number,
        waiver=waiver.as_json() | {"result": account["result"]},
        log={"person": waiver.waived_by, "reason": waiver.reason, "judgement": waiver.judgement_digest},
    )
