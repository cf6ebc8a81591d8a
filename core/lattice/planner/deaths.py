"""How many deletions a lattice bears before its first shard is dead, and before all are.

Every node stands, through its ancestors, on a node of one slice: a root. So a shard is dead exactly when the slices of
all its roots have been hit, and waiting for that is a coupon collector's wait. With hits as a Poisson stream of rate 1
the slices are independent, and the wait in hits has the same mean as the wait in time:

    all dead     ∫ 1 - Π over all roots (1 - exp(-p t)) dt          with equal chances  mL · H(m · roots)
    first dead   ∫ [1 - Π over a shard's roots (1 - exp(-p t))]^m dt

arXiv:2406.16257, lemma 1, bounds the first of these; the second is what somebody who is served notices.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import ceil, exp, expm1, log

from core.lattice.families import Family
from core.lattice.planner.effort import spend
from core.lattice.planner.question import PlanQuestion

POINTS = 2000
TRACES = 400
MOST_SIMULATED_HITS = 5000


def roots_of(family: Family) -> list[int]:
    """Return the slices that have a node of their own."""
    return [slices[0] for slices in family.by_depth() if len(slices) == 1]


def deletions_to_first_dead(question: PlanQuestion) -> float:
    """Return the expected number of deletions after which some shard serves nothing."""
    return _deletions(question, first=True)


def deletions_to_all_dead(question: PlanQuestion) -> float:
    """Return the expected number of deletions after which no shard serves anything: S3T's deletion rate."""
    return _deletions(question, first=False)


def _deletions(question: PlanQuestion, *, first: bool) -> float:
    chances = question.hits.chances(question.slices)
    roots = [chances[number] / question.shards for number in roots_of(question.sets)]
    hits = _hits_to_first(roots, question.shards) if first else _hits_to_all(roots, question.shards)
    together = question.hits.records_per_owner
    if together == 1:
        return hits
    if hits > MOST_SIMULATED_HITS:
        # The last deletion is cut short anywhere within its hits.
        return hits / together + (together - 1) / (2 * together)
    return _simulated(roots, question.shards, together, first=first)


def _hits_to_all(roots: Sequence[float], shards: int) -> float:
    alike = Counter(roots)
    if len(alike) == 1:
        return sum(1 / number for number in range(1, shards * len(roots) + 1)) / roots[0]
    return _integral(lambda time: 1.0 - _all_hit(alike, time) ** shards, roots)


def _hits_to_first(roots: Sequence[float], shards: int) -> float:
    alike = Counter(roots)
    return _integral(lambda time: (1.0 - _all_hit(alike, time)) ** shards, roots)


def _all_hit(roots: Mapping[float, int], time: float) -> float:
    """Return how likely it is that every root of one shard was hit by that time."""
    product = 1.0
    for chance, count in roots.items():
        product *= (-expm1(-chance * time)) ** count
    return product


def _integral(survival: Callable[[float], float], chances: Sequence[float]) -> float:
    """Integrate a survival function from 0 to infinity, on a logarithmic grid: chances may differ by magnitudes."""
    start, end = log(1e-6 / max(chances)), log(100 / min(chances))
    step = (end - start) / POINTS
    inner = sum(survival(exp(start + number * step)) * exp(start + number * step) for number in range(1, POINTS))
    return exp(start) + step * (inner + (survival(exp(start)) * exp(start)) / 2)


def _simulated(roots: Sequence[float], shards: int, together: int, *, first: bool) -> float:
    """Return the mean number of deletions when each hits `together` slices."""
    source = random.Random(20240626)  # noqa: S311
    total = 0
    for _ in range(TRACES):
        total += ceil(_one_wait(source, roots, shards, first=first) / together)
    return total / TRACES


def _one_wait(source: random.Random, roots: Sequence[float], shards: int, *, first: bool) -> int:
    """Return after how many hits the first shard, or the last, is dead in one trace."""
    places = [(shard, number) for shard in range(shards) for number in range(len(roots))]
    weights = [roots[number] for _, number in places]
    elsewhere = max(0.0, 1.0 - sum(weights))
    missing = [len(roots)] * shards
    left, seen, hits = shards, set[tuple[int, int]](), 0
    while left:
        spend(2 * len(places))
        for hit in source.choices([*places, None], [*weights, elsewhere], k=64):
            hits += 1
            if hit is None or hit in seen:
                continue
            seen.add(hit)
            missing[hit[0]] -= 1
            if not missing[hit[0]]:
                left -= 1
                if first or not left:
                    return hits
    return hits
