"""Sequences: orders in which a shard learns its slices. What survives depends on the sets of their prefixes alone."""

from __future__ import annotations

from collections.abc import Iterable

from core.lattice.families.family import SliceSet

Sequence = tuple[int, ...]
"""Every slice number once, in the order of learning."""


def merged_prefixes(sequences: Iterable[Sequence]) -> dict[SliceSet, SliceSet]:
    """Return the sets that a shard passes through in any of the sequences, equal ones merged.

    A set that several sequences reach stands on the prefix of the first of them.
    """
    parents: dict[SliceSet, SliceSet] = {}
    for sequence in sequences:
        for depth in range(1, len(sequence) + 1):
            parents.setdefault(tuple(sorted(sequence[:depth])), tuple(sorted(sequence[: depth - 1])))
    return parents
