"""Which slices of a shard have been hit: sets as bit masks, and the chance of each after some hits.

Bit k of a mask stands for slice k. Lists over masks have 2^slices entries, so this is for few slices. Everything is added
and multiplied in a fixed order, without powers: the same numbers on every machine, as families depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def as_mask(slices: Iterable[int]) -> int:
    """Return a set of slices as bits."""
    return sum(1 << number for number in slices)


def as_set(mask: int) -> tuple[int, ...]:
    """Return the slices whose bits are set, ascending."""
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)


def after_one_more(before: Sequence[float], chances: Sequence[float]) -> list[float]:
    """Return how likely each set of hit slices is after one more hit.

    Args:
        before: by mask, how likely it is now.
        chances: by slice, how likely the next hit is to strike it; they sum to 1.
    """
    after = []
    for mask in range(len(before)):
        total = 0.0
        for number, chance in enumerate(chances):
            if mask >> number & 1:
                total += chance * (before[mask] + before[mask ^ (1 << number)])
        after.append(total)
    return after


def averaged_hits(chances: Sequence[float], hits: int) -> list[float]:
    """Return how likely each set of hit slices is, averaged over 1, 2, … `hits` hits."""
    now = [1.0] + [0.0] * (2 ** len(chances) - 1)
    total = [0.0] * len(now)
    for _ in range(hits):
        now = after_one_more(now, chances)
        total = [so_far + chance for so_far, chance in zip(total, now, strict=True)]
    return [chance / hits for chance in total]


def sums_within(values: Sequence[float]) -> list[float]:
    """Return by mask the sum of the values of all masks within it."""
    sums = list(values)
    bit = 1
    while bit < len(sums):
        for mask in range(len(sums)):
            if mask & bit:
                sums[mask] += sums[mask ^ bit]
        bit <<= 1
    return sums
