"""Owners who were deleted are refused at ingest, until their new consent is recorded."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.dependencies import Caller, DoorsDoor, MaybeKey, answered, needs, once
from api.schemas.deletions import IdentityBody
from core.domain.access import Scope
from core.use_cases.record_reconsent import record_reconsent
from core.use_cases.resolve_subjects import Identity

router = APIRouter(prefix="/v1/suppressions", tags=["deletion requests"])


class Reconsent(BaseModel):
    """What became of a recorded consent."""

    object: str
    subject_reference: str
    was_refused: bool
    recorded_at: datetime


@router.post(
    ":reconsent",
    response_model=Reconsent,
    dependencies=[needs(Scope.REQUESTS_APPROVE)],
    summary="Record that a deleted owner consented anew",
)
def reconsent(
    body: IdentityBody, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response
) -> dict[str, Any]:
    """Accept the owner's rows again from now on. What was deleted stays deleted."""
    identity = Identity(body.identity_type, body.identity_value)
    once_key = once("POST /v1/suppressions:reconsent", key, body)
    return answered(response, record_reconsent(identity, caller=caller, once=once_key, doors=doors))
