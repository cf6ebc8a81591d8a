"""What a missing node is worth: the depth that it is expected to save at the next hit or two, per slice-epoch. Pure.

A node pays for the ancestors that are missing as well, and they share its worth: it cannot be trained before them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.lattice.families import Family, SliceSet

MOST_SLICES_IN_PAIRS = 10
"""Above it only single hits are looked at, as there are many pairs and many sets."""
FULL_SET_BONUS = 1e-9
"""Among nodes that save no depth, those that what is served canonically stands on come first: they bring E2."""


def worth_of_missing(
    family: Family, clean: Collection[SliceSet], missing: Collection[SliceSet]
) -> dict[SliceSet, float]:
    """Return for every missing set the expected depth saved per slice-epoch, the best of all sets that need it.

    Args:
        family: says what stands on what.
        clean: the sets of the shard's live nodes, canonical or not: each serves when a hit misses it.
        missing: the family's sets without a canonical node.
    """
    patterns = _patterns(family.chances)
    alive = {_mask(slices) for slices in clean}
    depths = {hits: max((one.bit_count() for one in alive if not one & hits), default=0) for hits in patterns}
    wanted, found = set(missing), dict.fromkeys(missing, 0.0)
    for slices in wanted:
        path, mask = _path(family, slices, wanted), _mask(slices)
        gain = sum(chance * max(0, len(slices) - depths[hits]) for hits, chance in patterns.items() if not hits & mask)
        gain += FULL_SET_BONUS * (len(slices) == family.slices)
        each = gain / sum(map(len, path))
        for one in path:
            found[one] = max(found[one], each)
    return found


def _patterns(chances: Sequence[float]) -> Mapping[int, float]:
    """Return one slice hit, or two, as bits: how likely each pattern is to be the next, by the registered prior."""
    found = {1 << one: chance for one, chance in enumerate(chances)}
    if len(chances) <= MOST_SLICES_IN_PAIRS:
        found |= {
            1 << one | 1 << other: 2 * chances[one] * chances[other]
            for one in range(len(chances))
            for other in range(one)
        }
    return found


def _path(family: Family, slices: SliceSet, missing: Collection[SliceSet]) -> list[SliceSet]:
    path = []
    while slices in missing:
        path.append(slices)
        slices = family.parents[slices]
    return path


def _mask(slices: SliceSet) -> int:
    return sum(1 << number for number in slices)
