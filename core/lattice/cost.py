"""Cost: what a family's sets cost to train, and what one more hit would take away. For previews, before anyone commits.

The unit of `slice_epochs` is one pass over one slice: a node of depth k is trained on k slices, so it costs k, and
building a subset trie of four slices costs 32, rebuilding after one hit 20.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from core.lattice.families import Family, SliceSet


def slice_epochs(sets: Iterable[SliceSet]) -> int:
    """Return the cost of training these sets, in slices fed once (per epoch)."""
    return sum(len(slices) for slices in sets)


def record_epochs(sets: Iterable[SliceSet], records_per_slice: Sequence[int] | Mapping[int, int], epochs: int) -> int:
    """Return the cost of training these sets of one shard, in records fed forward and backward.

    Args:
        sets: the sets of slices to train.
        records_per_slice: how many records each slice of the shard holds, by slice number.
        epochs: passes over its union that every node makes.
    """
    return epochs * sum(records_per_slice[number] for slices in sets for number in slices)


def struck_sets(family: Family, hits: Collection[int]) -> list[SliceSet]:
    """Return the family's sets that contain any of the hit slices, in depth order: what a deletion costs one shard."""
    hit_slices = frozenset(hits)
    return [slices for slices in family.by_depth() if not hit_slices.isdisjoint(slices)]


def depth_left(family: Family, hit_slices: Collection[int]) -> int:
    """Return the depth of the deepest set without a hit slice, 0 when the shard is dead."""
    hits = frozenset(hit_slices)
    return max((len(slices) for slices in family.parents if hits.isdisjoint(slices)), default=0)
