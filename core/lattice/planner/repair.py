"""Simulated repair: a long stream of deletions, and a budget of slice-epochs for each.

With every deletion the budget is credited, then spent while it lasts: first the worst shard's deepest clean set is extended
by one slice, cold slices first (by the family's registered prior: nobody knows more), until every shard is back at full depth; what is left buys the sets of the family that
are missing, by the depth they are expected to save at the next hit or two, per slice-epoch. What is not spent is kept.
Above ten slices no family is rebuilt, as too many sets would have to be compared.

Beside it stand the published policies, which repair nothing: everything is built anew once all shards are dead, or a shard
once it is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property

from core.domain.model import MOST_SET_BITS
from core.lattice.hits import as_mask
from core.lattice.planner.effort import spend
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.traces import SEED, draw_hits

DELETIONS = 3000
WORK = 150_000
"""Deletions times shards that are simulated at most."""
FEW_SLICES = 6
MANY_SLICES_DELETIONS, MANY_SLICES_WORK = 600, 3_000_000
"""As many are simulated where a family has hundreds of sets, fewer still the more there are."""


class Upkeep(StrEnum):
    """What is done about what was hit."""

    EXTEND = "extend"
    """Restore depth, and no more: spare sets are not rebuilt."""
    EXTEND_THEN_FAMILY = "extend_then_family"
    """Restore depth, then the family: what Lethe does."""
    RESTART_ALL_DEAD = "restart_all_dead"
    """Nothing until every shard is dead, then everything: S3T as published."""
    RESTART_DEAD_SHARD = "restart_dead_shard"
    """Nothing until a shard is dead, then that shard."""


@dataclass(frozen=True)
class Stream:
    """What a stream of deletions saw, on average over its deletions; building is paid for."""

    deletions: int
    active_share_after_hit: float
    """Just after a deletion, before anything is repaired."""
    active_share_after_repair: float
    some_shard_dead_after_hit: float
    some_shard_dead_after_repair: float
    slice_epochs_per_deletion: float


def affordable_deletions(question: PlanQuestion, upkeep: Upkeep) -> int:
    """Return how many deletions are simulated in seconds."""
    most = DELETIONS
    if upkeep is Upkeep.EXTEND_THEN_FAMILY and FEW_SLICES < question.slices <= MOST_SET_BITS:
        most = min(MANY_SLICES_DELETIONS, MANY_SLICES_WORK // (len(question.sets.parents) * question.slices))
    return max(100, min(most, WORK // question.shards))


def simulate(question: PlanQuestion, upkeep: Upkeep, budget: float = 0.0, deletions: int | None = None) -> Stream:
    """Return what a stream of deletions sees and costs.

    Args:
        question: the lattice and how deletions fall on it.
        upkeep: what is done about it.
        budget: slice-epochs credited per deletion; restarts take none, they are paid when they come.
        deletions: how many; None: as many as take seconds.
    """
    deletions = deletions or affordable_deletions(question, upkeep)
    lattice = _Lattice(question)
    source = random.Random(SEED)  # noqa: S311
    sums = [0.0] * 4
    credit = 0.0
    for _ in range(deletions):
        spend(2 * question.shards)
        for shard, number in draw_hits(question, source, question.hits.records_per_owner):
            lattice.hit(shard, number)
        sums[0] += lattice.active_share()
        sums[2] += lattice.some_dead()
        if upkeep in {Upkeep.RESTART_ALL_DEAD, Upkeep.RESTART_DEAD_SHARD}:
            lattice.restart(shard_by_shard=upkeep is Upkeep.RESTART_DEAD_SHARD)
        else:
            credit = lattice.extend(min(credit + budget, budget + lattice.whole_cost))
            if upkeep is Upkeep.EXTEND_THEN_FAMILY:
                credit = lattice.complete(credit)
        sums[1] += lattice.active_share()
        sums[3] += lattice.some_dead()
    hit, repaired, dead, dead_still = (value / deletions for value in sums)
    return Stream(deletions, hit, repaired, dead, dead_still, lattice.paid / deletions)


class _Lattice:
    """The clean sets of every shard, as masks, and what was paid for them so far."""

    def __init__(self, question: PlanQuestion) -> None:
        self.question = question
        self.whole = frozenset(as_mask(slices) for slices in question.sets.parents)
        self.parents = {as_mask(slices): as_mask(parent) for slices, parent in question.sets.parents.items()}
        self.order = question.sets.cold_first
        self.shards = [self.whole] * question.shards
        self.depths = [question.slices] * question.shards
        each = sum(one.bit_count() for one in self.whole)
        self.shard_cost = question.sequences * question.slices * (question.slices + 1) // 2 or each
        self.whole_cost = question.shards * each
        self.paid: float = self.whole_cost
        self._wanted = cache(self._find_wanted)
        # With many slices, looking anew after every purchase would take minutes.
        self.batch = 1 if question.slices <= FEW_SLICES else 64

    def active_share(self) -> float:
        return sum(self.depths) / self.question.places

    def some_dead(self) -> bool:
        return 0 in self.depths

    def hit(self, shard: int, number: int) -> None:
        bit = 1 << number
        spend(len(self.shards[shard]))
        self._put(shard, frozenset(one for one in self.shards[shard] if not one & bit))

    def restart(self, *, shard_by_shard: bool) -> None:
        """Build anew what is dead, all shards or none unless they go one by one. Sequences are charged unmerged."""
        if not shard_by_shard and any(self.depths):
            return
        for shard, depth in enumerate(self.depths):
            if not depth:
                self._put(shard, self.whole)
                self.paid += self.shard_cost

    def extend(self, credit: float) -> float:
        """Extend the worst shard by one slice, again and again, while the credit lasts; return what is left of it."""
        while True:
            depth = min(self.depths)
            if depth == self.question.slices or credit < depth + 1:
                return credit
            shard = self.depths.index(depth)
            spend(self.question.shards // 8 + len(self.shards[shard]))
            deepest = max((one for one in self.shards[shard] if one.bit_count() == depth), default=0)
            added = next(number for number in self.order if not deepest >> number & 1)
            credit -= self._add(shard, (deepest | 1 << added,))

    def complete(self, credit: float) -> float:
        """Buy missing sets of the family, the best first, while the credit lasts; return what is left of it."""
        if min(self.depths) < self.question.slices or self.question.slices > MOST_SET_BITS:
            return credit
        spent = True
        while spent and credit >= 1:
            spent = False
            spend(6 * self.question.shards)
            offers = [(self._wanted(clean), shard) for shard, clean in enumerate(self.shards)]
            for wanted, shard in sorted(offers, key=lambda offer: (-offer[0][0][0] if offer[0] else 1.0, offer[1])):
                before = credit
                credit = self._buy(shard, wanted, credit)
                spent = credit < before
                if spent:
                    break
        return credit

    def _buy(self, shard: int, wanted: Sequence[tuple[float, int]], credit: float) -> float:
        """Buy the first of the wanted sets that can be paid, behind those that it needs."""
        bought = 0
        for _, members in wanted:
            path = self._path(members, self.shards[shard])
            if path and _cost(path) <= credit:
                credit -= self._add(shard, path)
                bought += 1
            if bought == self.batch:
                break
        return credit

    def _add(self, shard: int, path: tuple[int, ...]) -> int:
        self._put(shard, self.shards[shard].union(path))
        self.paid += _cost(path)
        return _cost(path)

    def _put(self, shard: int, clean: frozenset[int]) -> None:
        spend(4 + len(clean))
        self.shards[shard] = clean
        self.depths[shard] = max((one.bit_count() for one in clean), default=0)

    def _find_wanted(self, clean: frozenset[int]) -> tuple[tuple[float, int], ...]:
        """Return the missing sets with what each is worth per slice-epoch, the best first."""
        spend(len(self._patterns) * len(self.whole))
        deepest_first = sorted(clean, key=lambda one: (-one.bit_count(), one))
        depths = {
            hits: next((one.bit_count() for one in deepest_first if not one & hits), 0) for hits in self._patterns
        }
        wanted = []
        for members in self.whole - clean:
            gain = sum(
                chance * max(0, members.bit_count() - depths[hits])
                for hits, chance in self._patterns.items()
                if not hits & members
            )
            wanted.append((gain / _cost(self._path(members, clean)), members))
        return tuple(sorted(wanted, key=lambda one: (-one[0], one[1].bit_count(), one[1])))

    @cached_property
    def _patterns(self) -> dict[int, float]:
        """One slice hit, or two: how likely each pattern is to be the next."""
        chances = list(enumerate(self.question.sets.chances))
        singles = {1 << one: chance for one, chance in chances}
        pairs = {
            1 << one | 1 << other: 2 * chance * likewise
            for one, chance in chances
            for other, likewise in chances
            if one < other
        }
        return singles | pairs if self.question.slices <= FEW_SLICES else singles

    def _path(self, members: int, clean: frozenset[int]) -> tuple[int, ...]:
        path: list[int] = []
        while members and members not in clean:
            path.append(members)
            members = self.parents[members]
        return tuple(reversed(path))


def _cost(path: tuple[int, ...]) -> int:
    return sum(members.bit_count() for members in path)
