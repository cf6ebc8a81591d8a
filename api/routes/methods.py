"""Methods: the menu of approximate unlearning, as it is on this service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import Caller, needs
from api.schemas.common import Page
from api.schemas.methods import ShownMethod
from core.domain.access import Scope
from core.methods.card import Modality
from core.use_cases.read_methods import read_method, read_methods

router = APIRouter(prefix="/v1/methods", tags=["models"])


@router.get(
    "",
    response_model=Page[ShownMethod],
    dependencies=[needs(Scope.MODELS_READ)],
    summary="List the methods of approximate unlearning",
)
def list_methods(caller: Caller, modality: Modality | None = None) -> dict[str, Any]:
    """All on one page, in the order in which people read them."""
    return read_methods(modality, caller=caller)


@router.get(
    "/{method_name}",
    response_model=ShownMethod,
    dependencies=[needs(Scope.MODELS_READ)],
    summary="Show one method",
)
def show_method(method_name: str, caller: Caller) -> dict[str, Any]:
    """By its name or an alias."""
    return read_method(method_name, caller=caller)
