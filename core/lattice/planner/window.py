"""Repair in windows: everything that was hit is trained again after every w deletions."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.model import MOST_SET_BITS
from core.lattice.families import sequences_of
from core.lattice.planner.decay import Decay
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.traces import follow

MOST_LOOKS = 40
"""Points of a window that are looked at; longer windows are looked at evenly."""


@dataclass(frozen=True)
class Window:
    """What a window of w deletions gives, on average over its deletions, and costs."""

    every: int
    active_share: float
    worst_shard_share: float
    some_shard_dead: float
    slice_epochs_per_deletion: float
    """Equal sets trained once."""
    slice_epochs_per_deletion_as_sequences: float
    """Every sequence trained by itself, as S3T is published."""


def window_of(question: PlanQuestion, every: int) -> Window:
    """Return what repairing after every so many deletions gives and costs."""
    count = min(every, MOST_LOOKS)
    # The middles of equal parts; with as many parts as deletions, each of them.
    looks = [(2 * number - 1) * every // (2 * count) + 1 for number in range(1, count + 1)]
    points = follow(question, looks)
    shares = [point.active_share for point in points]
    if question.slices <= MOST_SET_BITS:
        decay = Decay(question)
        shares = [decay.active_share(deletions) for deletions in looks]
    own = _cost(question, [frozenset(slices) for slices in question.sets.parents], every)
    return Window(
        every=every,
        active_share=_mean(shares),
        worst_shard_share=_mean([point.worst_shard_share for point in points]),
        some_shard_dead=_mean([point.some_shard_dead for point in points]),
        slice_epochs_per_deletion=own,
        slice_epochs_per_deletion_as_sequences=_cost(question, _unmerged(question), every)
        if question.sequences
        else own,
    )


def _unmerged(question: PlanQuestion) -> list[frozenset[int]]:
    return [
        frozenset(sequence[:depth])
        for sequence in sequences_of(question.family)
        for depth in range(1, question.slices + 1)
    ]


def _cost(question: PlanQuestion, sets: list[frozenset[int]], every: int) -> float:
    """Return the expected cost per deletion: a set is trained again when any of its slices was hit in the window."""
    chances = question.hits.chances(question.slices)
    hits = every * question.hits.records_per_owner
    total = 0.0
    for members in sets:
        spared = (1 - sum(chances[number] for number in members) / question.shards) ** hits
        total += len(members) * (1 - spared)
    return question.shards * total / every


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
