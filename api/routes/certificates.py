"""Certificates, and the proofs that the log holds them; both verify offline with `lethe verify`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, needs
from api.schemas.answers import Certificate
from api.schemas.common import Page
from core.domain.access import Scope
from core.use_cases.read_certificates import read_certificate, read_certificates, read_proof

router = APIRouter(prefix="/v1/certificates", tags=["certificates"], dependencies=[needs(Scope.CERTIFICATES_READ)])
ENVELOPE = "application/vnd.dsse.envelope.v1+json"


@router.get("", response_model=Page[Certificate], summary="List certificates, newest first")
def list_certificates(caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    return read_certificates(caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    "/{certificate_id}",
    response_class=Response,
    responses={200: {"content": {ENVELOPE: {"schema": {"type": "object"}}}}},
    summary="Fetch a DSSE envelope",
)
def get_certificate(certificate_id: str, caller: Caller, doors: DoorsDoor) -> Response:
    """Return the exact bytes that were signed and logged."""
    envelope = read_certificate(certificate_id, caller=caller, doors=doors)
    return Response(envelope, media_type=ENVELOPE)


@router.get("/{certificate_id}/proof", response_class=PlainTextResponse, summary="Fetch its C2SP tlog-proof")
def get_proof(certificate_id: str, caller: Caller, doors: DoorsDoor) -> str:
    return read_proof(certificate_id, caller=caller, doors=doors)
