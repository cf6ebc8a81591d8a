"""A family: sets of slices, the same in every shard, each with the smaller set that its node stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.domain.model import FamilyName

SliceSet = tuple[int, ...]
"""Slice numbers, ascending, each once. The empty one stands for the bare backbone."""


@dataclass(frozen=True)
class Family:
    """Sets of slices, the same in every shard, each with the set it is trained on top of."""

    name: FamilyName
    slices: int
    parents: Mapping[SliceSet, SliceSet]
    """Set -> the set one slice smaller that its node stands on; () under a single slice."""
    prior: tuple[float, ...] | None = None
    """How likely each slice is to be hit next, relative to the others, as registered; None: equally."""

    @property
    def chances(self) -> tuple[float, ...]:
        """How likely each slice is to be hit, given that the shard is; they sum to 1."""
        weights = self.prior or (1.0,) * self.slices
        return tuple(weight / sum(weights) for weight in weights)

    @property
    def cold_first(self) -> tuple[int, ...]:
        """The slices in the order in which repair adds them; ascending where no prior was registered.

        What is likely to be hit comes last: it takes with it whatever stands on it.
        """
        chances = self.chances
        return tuple(sorted(range(self.slices), key=lambda number: (chances[number], number)))

    def by_depth(self) -> Iterator[SliceSet]:
        """Yield every set, shallow ones first, then in lexicographic order: parents come before children."""
        yield from sorted(self.parents, key=lambda slices: (len(slices), slices))
