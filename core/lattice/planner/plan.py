"""A plan: everything the planner can say about a question, in plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from core.domain.model import MOST_SET_BITS
from core.lattice.planner.costs import Costs, costs_of
from core.lattice.planner.deaths import deletions_to_all_dead, deletions_to_first_dead
from core.lattice.planner.decay import Decay, depths_after_hits
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.repair import Stream, Upkeep, simulate
from core.lattice.planner.traces import Point, follow
from core.lattice.planner.window import Window, window_of

CURVE_POINTS = 24


@dataclass(frozen=True)
class Plan:
    """What a lattice bears and costs. Shares lie between 0 and 1; costs are in slice-epochs unless said otherwise."""

    question: PlanQuestion
    deletions_to_first_dead: float
    deletions_to_all_dead: float
    slices_hit_per_deletion: float
    """How many different slices one deletion is expected to hit, of all m·L."""
    depths_after_hits: list[float]
    costs: Costs
    curve: list[Point]
    """Without repair."""
    as_published: Stream | None
    """With the policy S3T is published with: nothing until every shard is dead, then everything."""
    window: Window | None
    repair: Stream | None

    def as_json(self) -> dict[str, Any]:
        """Return the plan with its main numbers on top, none of them nested."""
        question = self.question
        return {
            "shards": question.shards,
            "slices": question.slices,
            "family": question.family.name,
            "family_budget": question.family.budget,
            "hits": question.hits.kind,
            "deletions_to_first_dead": _rounded(self.deletions_to_first_dead),
            "deletions_to_all_dead": _rounded(self.deletions_to_all_dead),
            "slices_hit_per_deletion": _rounded(self.slices_hit_per_deletion),
            "nodes_per_shard": len(question.sets.parents),
            **_rounded(asdict(self.costs)),
            "depths_after_hits": _rounded(self.depths_after_hits),
            "curve": [_rounded(asdict(point)) for point in self.curve],
            **{
                name: None if found is None else _rounded(asdict(found))
                for name, found in (
                    ("as_published", self.as_published),
                    ("window", self.window),
                    ("repair", self.repair),
                )
            },
        }


def plan(question: PlanQuestion) -> Plan:
    """Answer a question: in closed form where there is one, by simulation with fixed seeds elsewhere."""
    return _planned(question, simulated=True)


def plan_without_curves(question: PlanQuestion) -> Plan:
    """Answer what has a closed form, to compare many lattices; there is no curve, and no stream."""
    return _planned(question, simulated=False)


def _planned(question: PlanQuestion, *, simulated: bool) -> Plan:
    places, records = question.places, question.hits.records_per_owner
    return Plan(
        question=question,
        deletions_to_first_dead=deletions_to_first_dead(question),
        deletions_to_all_dead=deletions_to_all_dead(question),
        slices_hit_per_deletion=places * (1 - (1 - 1 / places) ** records),
        depths_after_hits=depths_after_hits(question),
        costs=costs_of(question),
        curve=curve_of(question) if simulated else [],
        as_published=simulate(question, Upkeep.RESTART_ALL_DEAD) if simulated else None,
        window=None if question.repair_every is None or not simulated else window_of(question, question.repair_every),
        repair=None
        if question.repair_budget is None or not simulated
        else simulate(question, Upkeep.EXTEND_THEN_FAMILY, question.repair_budget),
    )


def curve_of(question: PlanQuestion) -> list[Point]:
    """Return the lattice over its deletions without repair, the active share exact where it can be."""
    steps = (number * question.horizon // CURVE_POINTS for number in range(1, CURVE_POINTS + 1))
    points = follow(question, sorted({max(1, step) for step in steps}))
    if question.slices > MOST_SET_BITS:
        return points
    decay = Decay(question)
    return [
        Point(one.deletions, decay.active_share(one.deletions), one.worst_shard_share, one.some_shard_dead)
        for one in points
    ]


def _rounded(value: Any) -> Any:
    """Return numbers as they are worth reading: four digits after the point are beyond what simulation knows."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
