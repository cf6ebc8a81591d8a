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

    def by_depth(self) -> Iterator[SliceSet]:
        """Yield every set, shallow ones first, then in lexicographic order: parents come before children."""
        yield from sorted(self.parents, key=lambda slices: (len(slices), slices))
