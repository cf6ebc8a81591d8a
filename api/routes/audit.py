"""The audit log: entries, the signed head, and proofs that it only ever grew."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, Moment, needs
from api.schemas.answers import ConsistencyProof, InclusionProof, LogEntry
from api.schemas.common import Page
from core.audit.entry import Action
from core.domain.access import Scope
from core.use_cases.read_audit_log import prove_consistency, prove_inclusion, read_checkpoint, read_entries

router = APIRouter(prefix="/v1/audit", tags=["audit"], dependencies=[needs(Scope.AUDIT_READ)])
Size = Annotated[int | None, Query(ge=0, description="Entries in the tree; absent: as many as there are now.")]


@router.get("/entries", response_model=Page[LogEntry], summary="List entries in order")
def list_entries(
    caller: Caller,
    doors: DoorsDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    action: Action | None = None,
    actor: Annotated[str | None, Query(description="Identifier of an API key or a worker.")] = None,
    object: Annotated[str | None, Query(description="Identifier of what was acted on.")] = None,  # noqa: A002
    since: Moment = None,
    until: Moment = None,
) -> dict[str, Any]:
    filters = {"action": action, "actor": actor, "object": object, "since": since, "until": until}
    return read_entries(caller=caller, doors=doors, limit=limit, cursor=cursor, filters=filters)


@router.get("/checkpoint", response_class=PlainTextResponse, summary="Fetch the signed head of the log")
def get_checkpoint(caller: Caller, doors: DoorsDoor) -> str:
    return read_checkpoint(caller=caller, doors=doors)


@router.get("/proofs/inclusion", response_model=InclusionProof, summary="Prove that the log holds an entry")
def get_inclusion(
    caller: Caller, doors: DoorsDoor, index: Annotated[int, Query(ge=0)], size: Size = None
) -> dict[str, Any]:
    return prove_inclusion(caller=caller, doors=doors, index=index, size=size)


@router.get(
    "/proofs/consistency", response_model=ConsistencyProof, summary="Prove that the log only grew between two sizes"
)
def get_consistency(
    caller: Caller,
    doors: DoorsDoor,
    old: Annotated[int, Query(alias="from", ge=0)],
    new: Annotated[int | None, Query(alias="to", ge=0)] = None,
) -> dict[str, Any]:
    return prove_consistency(caller=caller, doors=doors, old=old, new=new)
