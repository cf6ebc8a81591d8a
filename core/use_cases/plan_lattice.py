"""Say what a lattice would bear and cost, before anybody registers a model on it. Nothing is read and nothing is kept."""

from __future__ import annotations

from typing import Any

from core.domain.access import Caller, Scope
from core.lattice.planner.plan import plan
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.target import Target, shortfalls


def plan_lattice(question: PlanQuestion, target: Target | None, *, caller: Caller) -> dict[str, Any]:
    """Return the plan, and a sentence for each part of the target that it is not expected to meet."""
    caller.require(Scope.MODELS_READ)
    return {
        "object": "plan",
        **plan(question).as_json(),
        "warnings": [] if target is None else shortfalls(question, target),
    }
