"""The greedy trie: the sets that keep most depth for what they cost, for more slices than a subset trie can pay for.

It starts from one chain, cold slices first, and adds again and again a path of at most three new sets, from a set that it
has, with the greatest gain in expected depth per slice-epoch. The expectation is over 1 to 2L hits in the shard.

A path S1 ⊂ S2 ⊂ S3 is alive as deep as its deepest set without a hit, so its gain splits into edges,

    gain = [G(S1, 1) - G(S2, 1)] + [G(S2, 2) - G(S3, 2)] + G(S3, 3)        G(S, k) = E[max(0, |Sk| - depth now); S not hit]

and the best path from every set is found in one pass over all sets for each of its three steps. Additions and
multiplications in a fixed order only: every machine grows the same trie.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from core.lattice.families.family import SliceSet
from core.lattice.families.prior import cold_first, normalised
from core.lattice.hits import as_mask, as_set, averaged_hits, sums_within

LONGEST_PATH = 3


def greedy_trie(slices: int, budget: int | None, prior: Sequence[float] | None) -> dict[SliceSet, SliceSet]:
    """Return the sets that are worth most, each with its parent.

    Args:
        slices: how many slices a shard has, 1..10.
        budget: slice-epochs per shard that the sets may cost, at least those of one chain; None: as many as `slices`
            rotations cost, unmerged.
        prior: how likely each slice is to be hit, relative to the others; None: equally.
    """
    chances = normalised(prior, slices)
    left = slices * slices * (slices + 1) // 2 if budget is None else budget
    trie = _Trie(slices, averaged_hits(chances, 2 * slices))
    path: tuple[int, ...] | None = _chain(cold_first(chances))
    while path:
        left -= sum(members.bit_count() for members in path)
        trie.grow(path)
        path = trie.best_path(left)
    return {as_set(members): as_set(parent) for members, parent in trie.parents.items() if members}


def _chain(order: list[int]) -> tuple[int, ...]:
    return tuple(as_mask(order[:depth]) for depth in range(1, len(order) + 1))


class _Trie:
    """The sets so far, as bit masks, and for every pattern of hits the depth that they leave."""

    def __init__(self, slices: int, chances: list[float]) -> None:
        self.slices = slices
        self.chances = chances
        self.depths = [0] * len(chances)
        self.parents: dict[int, int] = {0: 0}

    def grow(self, path: tuple[int, ...]) -> None:
        """Add sets, each one slice larger than the one before; the first stands on one that is there."""
        for position, members in enumerate(path):
            before = path[position - 1] if position else self._parent(members)
            self.parents[members] = before
            depth = members.bit_count()
            for hits, had in enumerate(self.depths):
                if not hits & members and had < depth:
                    self.depths[hits] = depth

    def best_path(self, left: int) -> tuple[int, ...] | None:
        """Return the new sets with the best gain per slice-epoch that `left` pays for; None when no path gains."""
        gains = self._gains()
        tails = self._tails(gains)
        best, found = 0.0, None
        for start in sorted(self.parents):
            for length in range(1, LONGEST_PATH + 1):
                cost = sum(range(start.bit_count() + 1, start.bit_count() + length + 1))
                if cost > left:
                    break
                path = self._path(start, length, gains, tails)
                if path and self._gain(path, gains) > best * cost:
                    best, found = self._gain(path, gains) / cost, path
        return found

    def _parent(self, members: int) -> int:
        if members in self.parents:
            return self.parents[members]
        return next(one for one in sorted(self.parents) if one & members == one and (members ^ one).bit_count() == 1)

    def _gains(self) -> list[list[float]]:
        """Return G: by depth k, then by set, what nodes of depth k would add where the set is not hit."""
        whole = len(self.chances) - 1
        table: list[list[float]] = [[]]
        for depth in range(1, self.slices + 1):
            now = zip(self.chances, self.depths, strict=True)
            sums = sums_within([chance * max(0, depth - had) for chance, had in now])
            table.append([sums[whole ^ members] for members in range(whole + 1)])
        return table

    def _tails(self, gains: list[list[float]]) -> list[list[float]]:
        """Return by number of further steps, then by set, the best gain of a path that begins with the set."""
        size = len(self.chances)
        own = [gains[members.bit_count()][members] if members else 0.0 for members in range(size)]
        tails = [own]
        for _ in range(1, LONGEST_PATH):
            last = tails[-1]
            tails.append([max(self._edges(members, gains, last), default=-1.0) for members in range(size)])
        return tails

    def _edges(self, members: int, gains: list[list[float]], tail: list[float]) -> list[float]:
        here = gains[members.bit_count()] if members else None
        return [(here[members] - here[larger] if here else 0.0) + tail[larger] for larger in self._larger(members)]

    def _larger(self, members: int) -> list[int]:
        return [members | 1 << number for number in range(self.slices) if not members >> number & 1]

    def _path(
        self, start: int, length: int, gains: list[list[float]], tails: list[list[float]]
    ) -> tuple[int, ...] | None:
        """Return the best path of that length, None when there is none or it begins with a set that is there."""
        path: list[int] = []
        here = start
        for left in range(length - 1, -1, -1):
            options = self._larger(here)
            if not options:
                return None
            level = gains[here.bit_count()] if path else None
            scores = [(level[here] - level[one] if level else 0.0) + tails[left][one] for one in options]
            here = options[scores.index(max(scores))]
            path.append(here)
        # A path through a set that is there gains no more than the rest of it does from there, and costs more.
        return None if any(members in self.parents for members in path) else tuple(path)

    def _gain(self, path: tuple[int, ...], gains: list[list[float]]) -> float:
        last = path[-1]
        total = gains[last.bit_count()][last]
        for members, larger in pairwise(path):
            level = gains[members.bit_count()]
            total += level[members] - level[larger]
        return total
