"""Cyclic sequences (arXiv:2406.16257, algorithm 1): rotations, so that no slice has one position twice.

B < L   rotations at evenly spaced starts
B = L   all of them
B > L   iteratively: the first n slices of every sequence stay, and the rest is rotated; n = 1, 2, …
"""

from __future__ import annotations

from core.lattice.families.sequences import Sequence


def cyclic_sequences(slices: int, budget: int) -> list[Sequence]:
    """Return `budget` different sequences, each once.

    Args:
        slices: how many slices a shard has, L >= 1.
        budget: how many sequences, 1..L!.
    """
    # Evenly spaced starts keep what two rotations share as small as can be: with B=2 and L=4 one hit leaves 2.50
    # slices on average, against 2.25 with neighbouring starts.
    sequences = _rotations(tuple(range(slices)), 0, min(budget, slices))
    kept = 1
    while len(sequences) < budget:
        wanted = min(budget, len(sequences) * (slices - kept))
        sequences = _rotated_further(sequences, kept, wanted)
        kept += 1
    return sequences


def _rotated_further(parents: list[Sequence], kept: int, wanted: int) -> list[Sequence]:
    """Return every parent and children of it, as many of each as can be: taking the first B would favour the first."""
    found = []
    for number, parent in enumerate(parents):
        # Whoever gets one more is spread over the parents as well.
        share = (number + 1) * wanted // len(parents) - number * wanted // len(parents)
        found += _rotations(parent, kept, share)
    return found


def _rotations(sequence: Sequence, kept: int, count: int) -> list[Sequence]:
    """Return `count` evenly spaced rotations of all but the first `kept`; the sequence itself is the first of them."""
    head, tail = sequence[:kept], sequence[kept:]
    starts = [number * len(tail) // count for number in range(count)]
    return [head + tail[start:] + tail[:start] for start in starts]
