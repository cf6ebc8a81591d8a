r"""How much of a lattice stays active while nothing is repaired.

The depth that a shard serves depends on the set of its slices that were hit. Up to ten slices that depth is tabled for all
sets, and with q(H) = 1 - (chance that a hit falls outside H) the expectation after r hits is one sum,

    E[depth] = Σ_H e(H) q(H)^r         e(H) = Σ over K ⊇ H of (-1)^|K \ H| depth(K)

which is exact for any family and any prior: no trace needs to be simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

from core.domain.model import MOST_SET_BITS
from core.lattice.families import Family
from core.lattice.hits import as_mask, sums_within
from core.lattice.planner.effort import spend
from core.lattice.planner.question import PlanQuestion

DepthLeft = Callable[[int], int]
"""From the mask of hit slices to the depth of the deepest set without any of them."""


def depth_left_by_mask(family: Family) -> DepthLeft:
    """Return a function that remembers its answers: traces ask for the same masks again and again."""
    deepest_first = [as_mask(slices) for slices in family.by_depth()][::-1]

    @cache
    def depth(hits: int) -> int:
        place = next((place for place, one in enumerate(deepest_first) if not one & hits), None)
        spend(len(deepest_first) if place is None else place)
        return 0 if place is None else deepest_first[place].bit_count()

    return depth


def depths_after_hits(question: PlanQuestion) -> list[float]:
    """Return the expected depth of a shard after 1, 2, … L different slices of it were hit, each as likely."""
    if question.slices > MOST_SET_BITS:
        return []
    depth = depth_left_by_mask(question.sets)
    totals, counts = [0.0] * (question.slices + 1), [0] * (question.slices + 1)
    for hits in range(2**question.slices):
        totals[hits.bit_count()] += depth(hits)
        counts[hits.bit_count()] += 1
    return [total / count for total, count in zip(totals[1:], counts[1:], strict=True)]


class Decay:
    """The expected active share after any number of deletions, in closed form.

    Raises:
        ValueError: there are more slices than sets can be tabled for.
    """

    def __init__(self, question: PlanQuestion) -> None:
        if question.slices > MOST_SET_BITS:
            raise ValueError(f"the closed form is for at most {MOST_SET_BITS} slices")
        size = 2**question.slices
        depth = depth_left_by_mask(question.sets)
        # Turned round, supersets are subsets; signs by the parity of the difference make the sum a difference.
        signed = [(-1) ** (size - 1 ^ mask).bit_count() * depth(mask) for mask in range(size)]
        turned = sums_within([float(signed[size - 1 ^ mask]) for mask in range(size)])
        chances = question.hits.chances(question.slices)
        inside = sums_within([chances[mask.bit_length() - 1] if mask.bit_count() == 1 else 0.0 for mask in range(size)])
        terms: Counter[float] = Counter()
        for mask in range(size):
            factor = (-1) ** (size - 1 ^ mask).bit_count() * turned[size - 1 ^ mask]
            # Equal chances give only as many different terms as there are slices.
            terms[round(1.0 - (1.0 - inside[mask]) / question.shards, 15)] += factor
        self._terms = [(base, factor) for base, factor in terms.items() if factor]
        self._slices = question.slices
        self._hits_each = question.hits.records_per_owner

    def active_share(self, deletions: int) -> float:
        """Return which share of all slices is expected to be served after so many deletions."""
        hits = deletions * self._hits_each
        depth = sum(factor * base**hits for base, factor in self._terms)
        return min(1.0, max(0.0, depth / self._slices))
