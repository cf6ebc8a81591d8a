"""Plans: what a lattice would bear and cost, before anybody commits to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.dependencies import Caller, needs
from api.documentation import BODY
from api.schemas.plans import PlanBody, ShownPlan
from core.domain.access import Scope
from core.domain.errors import BadInput
from core.use_cases.plan_lattice import plan_lattice

router = APIRouter(prefix="/v1/plans", tags=["models"])


@router.post(
    "",
    response_model=ShownPlan,
    responses=BODY,
    dependencies=[needs(Scope.MODELS_READ)],
    summary="Say what a lattice would bear and cost",
)
def make_plan(body: PlanBody, caller: Caller) -> dict[str, Any]:
    """Compute and keep nothing: the same question has the same answer, simulations included."""
    try:
        question, target = body.as_question(), None if body.target is None else body.target.as_target()
    except ValueError as error:
        raise BadInput(f"the plan does not hold together: {error}") from None
    return plan_lattice(question, target, caller=caller)
