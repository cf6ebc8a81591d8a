"""Lineage: where a model's parts come from, and what ever saw somebody and is still there."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, needs
from api.documentation import BODY
from api.schemas.common import Page
from api.schemas.lineage import Artefact, Trace, TraceBody
from core.domain.access import Scope
from core.use_cases.read_lineage import ArtefactKind, ArtefactState, read_lineage
from core.use_cases.trace_subject import trace_subject

router = APIRouter(tags=["lineage"])


@router.get(
    "/v1/models/{model}/lineage",
    response_model=Page[Artefact],
    dependencies=[needs(Scope.MODELS_READ)],
    summary="List what a model is made of, and where each part comes from",
)
def get_lineage(
    model: str,
    caller: Caller,
    doors: DoorsDoor,
    limit: Limit = 50,
    cursor: Cursor = None,
    kind: ArtefactKind | None = None,
    state: ArtefactState | None = None,
) -> dict[str, Any]:
    """Those first that others stand on: backbone, nodes, versions, certificates, exports."""
    return read_lineage(model, caller=caller, doors=doors, limit=limit, cursor=cursor, kind=kind, state=state)


@router.post(
    "/v1/lineage:trace",
    response_model=Trace,
    responses=BODY,
    dependencies=[needs(Scope.REQUESTS_CREATE)],
    summary="Name everything live that ever saw somebody",
)
def trace(body: TraceBody, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    """Nothing is kept of the question. Once they were forgotten, `live` is empty."""
    return trace_subject(body.as_order(), caller=caller, doors=doors)
