"""Sequences for slices that are not equally likely to be hit: whoever is likely to leave is learned late.

    matching     bipartite-matching-based selection (arXiv:2406.16257 §3.3): position by position, every sequence gets
                 another slice so that the sum of scores is the greatest; a Latin square, of which the best B are kept
    cold_first   every sequence is cold-first, and sequence j moves the j-th hottest slice to its end. Not a Latin
                 square, and with all L sequences it keeps 2-4 % more depth than one does

A sequence that begins with the set S keeps S through t deletions with the chance (1 - P(S))^t; its score adds up how many
slices it keeps so. Powers are by multiplication alone, so every machine makes the same choice.
"""

from __future__ import annotations

from collections.abc import Sequence as Weights
from math import inf

from core.domain.model import FamilyChoice, PriorRule
from core.lattice.families.matching import heaviest_matching
from core.lattice.families.sequences import Sequence

HORIZON = 10
"""Between 10 and 100 it hardly matters; with 1 too few deletions are looked ahead, and the order is much worse."""


def prior_sequences(choice: FamilyChoice, budget: int) -> list[Sequence]:
    """Return `budget` sequences for the choice's prior, by its rule."""
    chances = normalised(choice.prior, choice.slices)
    if choice.chosen_rule is PriorRule.COLD_FIRST:
        return cold_first_sequences(chances, budget)
    return matching_sequences(chances, choice.horizon or HORIZON)[:budget]


def normalised(weights: Weights[float] | None, slices: int) -> list[float]:
    """Return the chance of each slice to be the one that is hit next; equal ones without weights."""
    whole = sum(weights) if weights is not None else float(slices)
    return [weight / whole for weight in (weights or [1.0] * slices)]


def cold_first(chances: Weights[float]) -> list[int]:
    """Return the slices, the least likely to be hit first; among equals the lower number."""
    return sorted(range(len(chances)), key=lambda number: (chances[number], number))


def cold_first_sequences(chances: Weights[float], budget: int) -> list[Sequence]:
    """Return the cold-first order and `budget - 1` others, each with another slice at its end."""
    order = cold_first(chances)
    hottest_first = order[::-1][:budget]
    return [(*(number for number in order if number != hot), hot) for hot in hottest_first]


def matching_sequences(chances: Weights[float], horizon: int) -> list[Sequence]:
    """Return L sequences in which no slice has a position twice, those with the best score first."""
    slices = len(chances)
    sequences: list[Sequence] = [(number,) for number in range(slices)]
    for _ in range(1, slices):
        weights = [_weights(sequence, chances, horizon) for sequence in sequences]
        matched = heaviest_matching(weights)
        sequences = [(*sequence, number) for sequence, number in zip(sequences, matched, strict=True)]
    return sorted(sequences, key=lambda sequence: (-score(sequence, chances, horizon), sequence))


def score(sequence: Sequence, chances: Weights[float], horizon: int) -> float:
    """Return the sum over its prefixes of their length times the chance that they last for `horizon` deletions."""
    total = hit = 0.0
    for depth, number in enumerate(sequence, start=1):
        hit += chances[number]
        total += depth * _power(max(0.0, 1.0 - hit), horizon)
    return total


def _weights(sequence: Sequence, chances: Weights[float], horizon: int) -> list[float]:
    """Return what each slice would add to the score as the next of a sequence; -inf for those it has already."""
    depth, hit = len(sequence) + 1, sum(chances[number] for number in sequence)
    return [
        -inf if number in sequence else depth * _power(max(0.0, 1.0 - hit - chance), horizon)
        for number, chance in enumerate(chances)
    ]


def _power(base: float, exponent: int) -> float:
    """Return the power by squaring: `**` asks the C library, whose last bit may differ between machines."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
