"""Models: register, watch, and read what exactly is served."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, MaybeKey, SeenVersion, answered, needs, once
from api.documentation import BODY, STALE
from api.schemas.answers import AnyModel, Checkpoint, FullVersion, Model, Node, Qualification, RegisteredModel, Version
from api.schemas.common import Page
from api.schemas.models import AdvanceBody, AnyModelBody, ModelChangeBody
from core.domain.access import Scope
from core.domain.errors import BadInput
from core.use_cases.advance_model import advance_model
from core.use_cases.ask_qualification import ask_qualification, read_qualification
from core.use_cases.change_model import change_model
from core.use_cases.read_models import read_model, read_models, read_nodes, read_version, read_versions
from core.use_cases.register_checkpoint import CheckpointOrder, register_checkpoint
from core.use_cases.register_model import register_model
from core.use_cases.repair_model import repair_model

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.post(
    "",
    status_code=201,
    response_model=RegisteredModel | Checkpoint,
    responses=BODY,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Register a model, in exact or in approximate mode",
)
def register(body: AnyModelBody, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    """Exact: check that the lattice can be filled, report its occupancy, and begin to train. Approximate: adopt a checkpoint."""
    try:
        order = body.as_order()
    except ValueError as error:
        raise BadInput(f"the recipe does not hold together: {error}") from None
    if isinstance(order, CheckpointOrder):
        adopted_key = once("POST /v1/models", key, body.fingerprint())
        return answered(response, register_checkpoint(order, caller=caller, once=adopted_key, doors=doors))
    once_key = once("POST /v1/models", key, body.fingerprint())
    return answered(response, register_model(order, caller=caller, once=once_key, doors=doors))


@router.get(
    "", response_model=Page[AnyModel], dependencies=[needs(Scope.MODELS_READ)], summary="List models, newest first"
)
def list_models(caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    return read_models(caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    "/{model}",
    response_model=AnyModel,
    dependencies=[needs(Scope.MODELS_READ)],
    summary="Look at one model, by id or name",
)
def get_model(model: str, caller: Caller, doors: DoorsDoor, response: Response) -> dict[str, Any]:
    return _tagged(read_model(model, caller=caller, doors=doors), response)


@router.patch(
    "/{model}",
    response_model=AnyModel,
    responses=BODY | STALE,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Change how eagerly a model is repaired, or by which methods a checkpoint is made to forget",
)
def change(
    model: str, body: ModelChangeBody, caller: Caller, doors: DoorsDoor, seen: SeenVersion, response: Response
) -> dict[str, Any]:
    """What waits goes by the new policy; what runs ends under the old one. Another budget begins with an empty balance."""
    return _tagged(change_model(model, body.as_change(), caller=caller, doors=doors, seen=seen), response)


@router.get(
    "/{model}/nodes",
    response_model=Page[Node],
    dependencies=[needs(Scope.MODELS_READ)],
    summary="List the live nodes, served or spare, shard by shard",
)
def list_nodes(
    model: str, caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    return read_nodes(model, caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    "/{model}/versions",
    response_model=Page[Version],
    dependencies=[needs(Scope.MODELS_READ)],
    summary="List versions, newest first",
)
def list_versions(
    model: str, caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None
) -> dict[str, Any]:
    return read_versions(model, caller=caller, doors=doors, limit=limit, cursor=cursor)


@router.get(
    "/{model}/versions/{version}",
    response_model=FullVersion,
    dependencies=[needs(Scope.MODELS_READ)],
    summary="Read a version's manifest, by id, number or `serving`",
)
def get_version(model: str, version: str, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return read_version(model, version, caller=caller, doors=doors)


@router.post(
    "/{model}:repair",
    status_code=202,
    response_model=Model,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Train what a model lacks",
)
def repair(model: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    """Try again after jobs gave up or were cancelled. Nothing is trained twice, and what waits already is enough."""
    once_key = once("POST /v1/models/{model}:repair", key, model.encode())
    return answered(response, repair_model(model, caller=caller, once=once_key, doors=doors))


@router.post(
    "/{model}:advance",
    status_code=202,
    response_model=Model,
    responses=BODY,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Learn from a later version of the data set",
)
def advance(
    model: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response, body: AdvanceBody | None = None
) -> dict[str, Any]:
    """Nobody moves. Nodes over slices that grew answer on, and canonical ones are built as the repair policy says."""
    wanted = body.dataset_version if body is not None else None
    once_key = once("POST /v1/models/{model}:advance", key, f"{model}\x00{wanted or ''}".encode())
    answer = advance_model(model, caller=caller, once=once_key, doors=doors, dataset_version=wanted)
    return answered(response, answer)


@router.post(
    "/{model}:qualify",
    status_code=202,
    response_model=Checkpoint,
    dependencies=[needs(Scope.MODELS_WRITE)],
    summary="Put the judge of a model in approximate mode to the test",
)
def qualify(model: str, caller: Caller, doors: DoorsDoor, key: MaybeKey, response: Response) -> dict[str, Any]:
    """Train as many oracles as the model's policy says, on planted canaries. Without it no method's result can pass."""
    once_key = once("POST /v1/models/{model}:qualify", key, model.encode())
    return answered(response, ask_qualification(model, caller=caller, once=once_key, doors=doors))


@router.get(
    "/{model}/qualification",
    response_model=Qualification,
    dependencies=[needs(Scope.MODELS_READ)],
    summary="Read what the newest qualification found",
)
def get_qualification(model: str, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    return read_qualification(model, caller=caller, doors=doors)


def _tagged(found: dict[str, Any], response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{found["row_version"]}"'
    return found
