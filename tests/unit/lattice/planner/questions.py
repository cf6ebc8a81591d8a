"""Questions for the planner, with the one detail varied that a test is about."""

from __future__ import annotations

from typing import Any

from core.domain.model import FamilyChoice, FamilyName
from core.lattice.planner.question import PlanQuestion


def ask(shards: int, slices: int, name: str = "cyclic", budget: int | None = None, **more: Any) -> PlanQuestion:
    more.setdefault("layers", max(24, slices))
    family = FamilyChoice(name=FamilyName(name), slices=slices, budget=budget)
    return PlanQuestion(shards=shards, family=family, **more)
