"""What a model is expected to bear, and the sentences to say when its lattice cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.domain.model import MOST_SET_BITS
from core.lattice.planner.deaths import deletions_to_all_dead, deletions_to_first_dead
from core.lattice.planner.decay import Decay
from core.lattice.planner.question import MOST_DELETIONS, PlanQuestion
from core.lattice.planner.repair import Upkeep, simulate
from core.lattice.planner.traces import follow


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is expected of a lattice."""

    deletions: int
    """How many come before anything is repaired; where nothing is repaired, how many in all."""
    active_share: float = 0.5
    """Of all slices, how much is to be served after them, 0..1; with a repair budget, on average."""
    repair_budget: float | None = None
    """Slice-epochs that repair may spend per deletion; None: repair catches up after `deletions`."""

    def __post_init__(self) -> None:
        if not 1 <= self.deletions <= MOST_DELETIONS:
            raise ValueError(f"deletions must lie in 1..{MOST_DELETIONS}")
        if not 0 < self.active_share <= 1:
            raise ValueError("active_share must lie between 0 and 1")
        if self.repair_budget is not None and not 0 < self.repair_budget <= 1e6:  # noqa: PLR2004
            raise ValueError("repair_budget must lie between 0 and 1000000")


def shortfalls(question: PlanQuestion, target: Target) -> list[str]:
    """Return a sentence for each part of the target that the lattice is not expected to meet; none when it meets all."""
    if target.repair_budget is not None:
        return _under_budget(question, target, target.repair_budget)
    found = []
    share = _share_after(question, target.deletions)
    if share < target.active_share:
        holds = _deletions_that_hold(question, target)
        found.append(
            f"after {target.deletions} deletions without repair {share:.0%} of the slices are expected to be active, "
            f"and the target is {target.active_share:.0%}; it holds for {holds} deletions"
        )
    first = deletions_to_first_dead(question)
    if first < target.deletions:
        found.append(
            f"the first of {question.shards} shards is expected to be dead after {first:.0f} deletions, and the target "
            f"is {target.deletions}"
        )
    return found


def without_repair(question: PlanQuestion, owners: int) -> list[str]:
    """Return what to know about a model that is never repaired: nothing when it outlives all its owners."""
    first, last = deletions_to_first_dead(question), deletions_to_all_dead(question)
    if first >= owners:
        return []
    sentence = (
        f"without repair the first shard is expected to be dead after {first:.0f} deletions and the last after "
        f"{last:.0f}; the data set has {owners} owners"
    )
    return [sentence]


def _under_budget(question: PlanQuestion, target: Target, budget: float) -> list[str]:
    seen = simulate(question, Upkeep.EXTEND_THEN_FAMILY, budget)
    if seen.active_share_after_hit >= target.active_share:
        return []
    sentence = (
        f"with {budget:g} slice-epochs of repair per deletion {seen.active_share_after_hit:.0%} of the slices are "
        f"expected to be active just after a deletion, and the target is {target.active_share:.0%}"
    )
    return [sentence]


def _share_after(question: PlanQuestion, deletions: int) -> float:
    if question.slices <= MOST_SET_BITS:
        return Decay(question).active_share(deletions)
    return follow(replace(question, deletions=deletions), [deletions])[0].active_share


def _deletions_that_hold(question: PlanQuestion, target: Target) -> int:
    """Return after how many deletions at most the target's share is still expected, by bisection."""
    low, high = 0, target.deletions
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _share_after(question, middle) >= target.active_share else (low, middle)
    return low
