"""Occupancy: how many owners and records each slice holds, and which lattice a number of owners can fill.

An empty slice is legal: its stage trains on the rest of its union. Too few owners are not, as a slice then stands for
one person; registration refuses fewer than three per slice on average and proposes a smaller lattice (DESIGN §4.5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product, repeat

from core.domain.errors import TooFewOwners
from core.domain.model import MINIMUM_OWNERS_PER_SLICE
from core.lattice.placement import Place

PREFERRED_SLICES = 4
"""Deeper lattices of thin slices train less stably, and more shards with four slices survive as long."""
MOST_SHARDS = 1024
"""As many as a recipe takes."""


@dataclass(frozen=True)
class Occupancy:
    """What each slice of each shard holds; `owners[shard][slice]` and `records[shard][slice]`."""

    owners: tuple[tuple[int, ...], ...]
    records: tuple[tuple[int, ...], ...]

    @property
    def mean_owners(self) -> float:
        """Owners per slice, on average over all slices of all shards."""
        counts = [count for shard in self.owners for count in shard]
        return sum(counts) / len(counts)

    @property
    def minimum_owners(self) -> int:
        return min(min(shard) for shard in self.owners)

    @property
    def empty_slices(self) -> tuple[Place, ...]:
        """The slices that hold nobody, in order."""
        return tuple(
            Place(shard, slice_number)
            for shard, counts in enumerate(self.owners)
            for slice_number, count in enumerate(counts)
            if count == 0
        )

    @property
    def sufficient(self) -> bool:
        """Whether there are enough owners per slice, on average, to register a model."""
        return self.mean_owners >= MINIMUM_OWNERS_PER_SLICE


def occupancy(places: Iterable[Place], shards: int, slices: int, *, records: Iterable[int] | None = None) -> Occupancy:
    """Count who sits where.

    Args:
        places: the place of each owner, once per owner.
        shards: number of shards, m >= 1.
        slices: number of slices in each, L >= 1.
        records: how many records each of these owners has, in the same order; None: one each.

    Raises:
        ValueError: a place lies outside the lattice, or `places` and `records` differ in length.
    """
    owner_counts: Counter[Place] = Counter()
    record_counts: Counter[Place] = Counter()
    pairs = zip(places, repeat(1), strict=False) if records is None else zip(places, records, strict=True)
    for owner_place, count in pairs:
        owner_counts[owner_place] += 1
        record_counts[owner_place] += count
    lattice = {Place(shard, slice_number) for shard, slice_number in product(range(shards), range(slices))}
    if not lattice or not owner_counts.keys() <= lattice:
        raise ValueError(f"an owner lies outside a lattice of {shards} shards and {slices} slices")
    return Occupancy(_table(owner_counts, shards, slices), _table(record_counts, shards, slices))


def propose(owners: int, slices: int = PREFERRED_SLICES) -> tuple[int, int]:
    """Return the (shards, slices) of the biggest lattice with three owners per slice on average.

    Slices are given up only when even one shard has too many of them.

    Raises:
        TooFewOwners: there are not even enough for one slice.
    """
    if owners < MINIMUM_OWNERS_PER_SLICE:
        raise TooFewOwners(f"a lattice needs at least {MINIMUM_OWNERS_PER_SLICE} owners, got {owners}")
    fillable = owners // MINIMUM_OWNERS_PER_SLICE
    if fillable < slices:
        return 1, fillable
    return min(fillable // slices, MOST_SHARDS), slices


def _table(counts: Counter[Place], shards: int, slices: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(counts[Place(shard, number)] for number in range(slices)) for shard in range(shards))
