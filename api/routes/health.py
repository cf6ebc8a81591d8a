"""Whether the service lives and is ready, and what a client must know to talk to it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from api.dependencies import DoorsDoor
from core.domain.model import FamilyName
from core.use_cases.check_readiness import check_readiness
from core.use_cases.read_certificates import verification_keys

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Does the process live?")
def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Can it answer: database, schema, stores?")
def ready(doors: DoorsDoor) -> dict[str, Any]:
    return check_readiness(doors)


@router.get("/.well-known/lethe", summary="What this deployment is and how to verify it")
def discovery(doors: DoorsDoor) -> dict[str, Any]:
    return {
        "service": "lethe",
        "version": version("lethe"),
        "api_versions": ["v1"],
        "log_origin": doors.settings.log_origin,
        "verification_keys": "/.well-known/lethe.vkey",
        "modes": ["exact"],
        "families": list(FamilyName),
        "upload_limit_bytes": doors.settings.upload_limit_bytes,
    }


@router.get("/.well-known/lethe.vkey", response_class=PlainTextResponse, summary="Public keys, for `lethe verify`")
def keys(doors: DoorsDoor) -> str:
    return verification_keys(doors)
