"""The subset trie: every non-empty set of slices, each trained on top of itself less its largest slice.

It has a node for whatever set a deletion leaves, so as many slices stay active as were not hit: what all L! sequences
would give, for 2^L - 1 nodes.
"""

from __future__ import annotations

from itertools import combinations

from core.lattice.families.family import SliceSet


def subset_trie(slices: int) -> dict[SliceSet, SliceSet]:
    """Return every set with its parent."""
    return {chosen: chosen[:-1] for depth in range(1, slices + 1) for chosen in combinations(range(slices), depth)}
