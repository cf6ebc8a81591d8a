"""API keys: who am I, make one, list them, end one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import Caller, Cursor, DoorsDoor, Limit, needs
from api.schemas.answers import ApiKey, NewApiKey, WhoAmI
from api.schemas.common import Page
from core.audit.entry import Actor, ActorKind
from core.domain.access import Scope
from core.use_cases.create_api_key import DEFAULT_DAYS, create_api_key, revoke_api_key
from core.use_cases.read_api_keys import read_api_keys
from core.use_cases.wording import moment

router = APIRouter(prefix="/v1", tags=["access"])


class ApiKeyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$", examples=["governance-connector"])
    scopes: list[Scope] = Field(min_length=1, examples=[["requests:create", "requests:read"]])
    days: int = Field(default=DEFAULT_DAYS, ge=1, le=3650)


@router.get("/whoami", response_model=WhoAmI, summary="Say what this API key may do")
def whoami(caller: Caller) -> dict[str, Any]:
    return {"tenant": caller.tenant_id, "key": caller.key_id, "scopes": sorted(caller.scopes)}


@router.post(
    "/api-keys",
    status_code=201,
    response_model=NewApiKey,
    dependencies=[needs(Scope.KEYS_MANAGE)],
    summary="Make an API key; its secret is shown once",
)
def create(body: ApiKeyBody, caller: Caller, doors: DoorsDoor) -> dict[str, Any]:
    """Make a key with scopes that the caller has too."""
    for scope in body.scopes:
        caller.require(scope)
    actor = Actor(ActorKind.CLIENT, caller.key_id)
    key = create_api_key(
        doors, tenant_id=caller.tenant_id, name=body.name, scopes=list(body.scopes), actor=actor, days=body.days
    )
    return {
        "id": key.id,
        "object": "api_key",
        "secret": key.secret,
        "scopes": list(key.scopes),
        "expires_at": moment(key.expires_at),
    }


@router.get(
    "/api-keys",
    response_model=Page[ApiKey],
    dependencies=[needs(Scope.KEYS_MANAGE)],
    summary="List API keys, newest first",
)
def list_keys(caller: Caller, doors: DoorsDoor, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    return read_api_keys(doors, caller.tenant_id, limit=limit, cursor=cursor)


@router.delete(
    "/api-keys/{key_id}",
    status_code=204,
    dependencies=[needs(Scope.KEYS_MANAGE)],
    summary="Revoke an API key at once",
)
def revoke(key_id: str, caller: Caller, doors: DoorsDoor) -> None:
    actor = Actor(ActorKind.CLIENT, caller.key_id)
    revoke_api_key(doors, tenant_id=caller.tenant_id, key_id=key_id, actor=actor)
