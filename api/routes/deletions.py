"""Deletion requests: ask, look ahead, watch, decide."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from api.dependencies import (
    Asking,
    AsksOnce,
    Caller,
    Cursor,
    DoorsDoor,
    Limit,
    MaybeKey,
    Moment,
    SeenVersion,
    answered,
    needs,
    once,
)
from api.documentation import BODY, STALE
from api.schemas.answers import DeletionRequest, MethodAttempt, Preview, Receipt
from api.schemas.common import Page
from api.schemas.deletions import DeletionRequestBody, WaiverBody
from core.domain.access import Scope
from core.domain.deletion import RequestState
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.preview_deletion import preview_deletion
from core.use_cases.read_attempts import read_attempts
from core.use_cases.read_requests import read_request, read_requests
from core.use_cases.waive_judgement import waive_judgement

router = APIRouter(prefix="/v1/deletion-requests", tags=["deletion requests"])


@router.post(
    "",
    status_code=202,
    response_model=Receipt,
    responses=BODY,
    summary="Make models forget",
)
def request_deletion(
    body: DeletionRequestBody, asking: Annotated[Asking, Depends(AsksOnce(Scope.REQUESTS_CREATE))]
) -> Response:
    """Accept a deletion request and return its receipt. The work begins as this answer leaves."""
    once_key = once("POST /v1/deletion-requests", asking.key, body)
    answer = accept_deletion(body.as_order(), caller=asking.caller, once=once_key, doors=asking.doors)
    # Written here, not by the framework: it would take the receipt apart and put it together again for each request.
    # One that was stored comes back in no order, so it is put into the schema's, in which it was written first.
    response = JSONResponse(Receipt.model_validate(answer.body).model_dump() if answer.replayed else answer.body)
    answered(response, answer)
    response.headers["Location"] = f"/v1/deletion-requests/{answer.body['id']}"
    response.headers["ETag"] = f'"{answer.body["row_version"]}"'
    return response


@router.get(
    "",
    response_model=Page[DeletionRequest],
    dependencies=[needs(Scope.REQUESTS_READ)],
    summary="List requests, newest first",
)
def list_requests(
    caller: Caller,
    doors: DoorsDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: RequestState | None = None,
    model: Annotated[str | None, Query(description="Id of a model that has work for it.")] = None,
    external_id: str | None = None,
    regulation: str | None = None,
    received_after: Moment = None,
    received_before: Moment = None,
) -> dict[str, Any]:
    filters: dict[str, str | datetime | None] = {
        "state": state,
        "model": model,
        "external_id": external_id,
        "regulation": regulation,
        "received_after": received_after,
        "received_before": received_before,
    }
    return read_requests(caller=caller, doors=doors, limit=limit, cursor=cursor, filters=filters)


@router.post(
    ":preview",
    response_model=Preview,
    responses=BODY,
    dependencies=[needs(Scope.REQUESTS_CREATE)],
    summary="Say what a deletion would do, and do nothing",
)
def preview(body: DeletionRequestBody, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return preview_deletion(body.as_order(), caller=caller, doors=doors)


@router.get(
    "/{request_id}",
    response_model=DeletionRequest,
    dependencies=[needs(Scope.REQUESTS_READ)],
    summary="Look at one request",
)
def get_request(request_id: str, caller: Caller, doors: DoorsDoor, response: Response) -> dict[str, Any]:
    found = read_request(request_id, caller=caller, doors=doors)
    response.headers["ETag"] = f'"{found["row_version"]}"'
    return found


@router.get(
    "/{request_id}/attempts",
    response_model=Page[MethodAttempt],
    dependencies=[needs(Scope.REQUESTS_READ)],
    summary="See what was tried on models in approximate mode, and what the judge said",
)
def list_attempts(
    request_id: str, caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    return read_attempts(request_id, caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.post(
    "/{request_id}:waive",
    response_model=DeletionRequest,
    responses=BODY,
    dependencies=[needs(Scope.REQUESTS_APPROVE)],
    summary="Answer for a judgement that is no pass, and have its result served",
)
def waive(
    request_id: str, body: WaiverBody, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response
) -> dict[str, Any]:
    """Take responsibility, by your API key's name, for one attempt that the judge refused. The judgement stays what it is."""
    once_key = once(f"POST /v1/deletion-requests/{request_id}:waive", key, body)
    return answered(response, waive_judgement(request_id, body.as_order(), caller=caller, once=once_key, doors=doors))


def _decision(decision: Decision, scope: Scope, summary: str) -> None:
    """Add the route of one decision; each is a route of its own because each has a scope of its own."""

    def decide(
        request_id: str, caller: Caller, doors: DoorsDoor, seen: SeenVersion, key: MaybeKey, response: Response
    ) -> dict[str, Any]:
        """Decide about a request. Without an Idempotency-Key, repeating what was carried out answers 409."""
        once_key = once(f"POST /v1/deletion-requests/{{id}}:{decision}", key, request_id.encode())
        answer = decide_deletion(request_id, decision, caller=caller, once=once_key, doors=doors, seen=seen)
        found = answered(response, answer)
        response.headers["ETag"] = f'"{found["row_version"]}"'
        return found

    router.add_api_route(
        f"/{{request_id}}:{decision}",
        decide,
        methods=["POST"],
        name=f"{decision}_request",
        response_model=DeletionRequest,
        responses=STALE,
        dependencies=[needs(scope)],
        summary=summary,
    )


_decision(Decision.APPROVE, Scope.REQUESTS_APPROVE, "Let a request begin that waits for a second person")
_decision(Decision.DENY, Scope.REQUESTS_APPROVE, "Turn down a request that waits for a second person")
_decision(Decision.CANCEL, Scope.REQUESTS_CREATE, "Withdraw a request that no worker has begun")
_decision(Decision.RETRY, Scope.REQUESTS_APPROVE, "Try again what needs attention because its jobs gave up")
