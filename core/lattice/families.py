"""Families: which sets of slices get a trained node, and on top of which smaller set each is trained.

A node has learned a *set* of slices; in which order they came does not matter to what survives a deletion. A node of
k slices is trained on top of its parent, the same set less one slice, and costs k slices of work.

    chain        {0} {0,1} {0,1,2} …                                 L nodes        as SISA (arXiv:1912.03817)
    cyclic       the prefixes of B rotations, equal sets merged      B(L-1)+1       S3T (arXiv:2406.16257)
    subset_trie  every non-empty set, parent = drop the largest      2^L - 1        L - hits remain, whatever is hit
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

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


def build_family(name: FamilyName, slices: int, *, budget: int | None = None) -> Family:
    """Return the family of that name over slices 0..slices-1.

    Args:
        name: which family.
        slices: how many slices a shard has, L >= 1.
        budget: how many rotations the cyclic family keeps, 1..L; None keeps all. Other families take none.

    Raises:
        ValueError: there is no slice, or the budget does not fit the family.
    """
    if slices < 1:
        raise ValueError(f"a shard has at least one slice, got {slices}")
    if budget is not None and name is not FamilyName.CYCLIC:
        raise ValueError("only the cyclic family takes a budget")
    if budget is not None and not 1 <= budget <= slices:
        raise ValueError(f"a budget lies in 1..{slices}, got {budget}")
    match name:
        case FamilyName.CHAIN:
            parents = _prefixes(tuple(range(slices)))
        case FamilyName.CYCLIC:
            parents = _cyclic(slices, slices if budget is None else budget)
        case FamilyName.SUBSET_TRIE:
            parents = _subset_trie(slices)
    return Family(name, slices, MappingProxyType(parents))


def _prefixes(sequence: SliceSet) -> dict[SliceSet, SliceSet]:
    """Return the sets that a shard passes through when it learns slices in this order."""
    return {
        tuple(sorted(sequence[:depth])): tuple(sorted(sequence[: depth - 1])) for depth in range(1, len(sequence) + 1)
    }


def _cyclic(slices: int, budget: int) -> dict[SliceSet, SliceSet]:
    # Evenly spaced starts keep what two rotations share as small as can be: with B=2 and L=4 one hit leaves 2.50
    # slices on average, against 2.25 with neighbouring starts.
    parents: dict[SliceSet, SliceSet] = {}
    for number in range(budget):
        start = number * slices // budget
        rotation = tuple((start + step) % slices for step in range(slices))
        # All rotations end in the full set; it stands on the prefix of the first.
        parents = _prefixes(rotation) | parents
    return parents


def _subset_trie(slices: int) -> dict[SliceSet, SliceSet]:
    return {chosen: chosen[:-1] for depth in range(1, slices + 1) for chosen in combinations(range(slices), depth)}
