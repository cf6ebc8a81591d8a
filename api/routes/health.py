"""Whether the service lives and is ready, and what a client must know to talk to it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api.dependencies import DoorsDoor
from core import metrics
from core.domain.model import FamilyName
from core.use_cases.check_readiness import check_readiness
from core.use_cases.measure_service import measure_service
from core.use_cases.read_certificates import verification_keys

router = APIRouter(tags=["health"])
METRICS_PATH = "/metrics"


@router.get("/healthz", summary="Does the process live?")
def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Can it answer: database, schema, key store, object store, audit log?")
def ready(doors: DoorsDoor) -> dict[str, Any]:
    """Name each with its state; 503 when one is not `ok`. Answers within seconds, whatever hangs."""
    return check_readiness(doors)


@router.get(METRICS_PATH, response_class=PlainTextResponse, summary="Counters and gauges, for Prometheus")
def read_metrics(doors: DoorsDoor, request: Request) -> Response:
    """Without a key, so keep it inside your network. It names no person, no tenant and no model."""
    state = request.app.state
    if not hasattr(state, "service_metrics"):
        state.service_metrics = measure_service(doors)
    return Response(metrics.exposition([state.service_metrics]), media_type=metrics.CONTENT_TYPE)


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
