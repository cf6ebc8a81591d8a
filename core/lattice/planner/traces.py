"""Simulated deletions without repair: what has no closed form (the worst shard, whether one is dead, many slices)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.lattice.planner.decay import depth_left_by_mask
from core.lattice.planner.effort import spend
from core.lattice.planner.question import PlanQuestion

SEED = 20240616257
MOST_TRACES, LEAST_TRACES = 1000, 3
DRAWS, COMPARISONS = 400_000, 40_000_000


@dataclass(frozen=True)
class Point:
    """A lattice after so many deletions, on average over the traces; shares lie between 0 and 1."""

    deletions: int
    active_share: float
    """Depth that is served, of all the depth there is."""
    worst_shard_share: float
    some_shard_dead: float
    """How likely it is that a shard serves nothing."""


def follow(question: PlanQuestion, checkpoints: Sequence[int]) -> list[Point]:
    """Return the state of the lattice at each checkpoint, on average over traces.

    Args:
        question: the lattice and how deletions fall on it.
        checkpoints: numbers of deletions, ascending.
    """
    depth = depth_left_by_mask(question.sets)
    count = _trace_count(question, checkpoints)
    sums = [[0.0, 0.0, 0.0] for _ in checkpoints]
    for trace in range(count):
        hit_sets = _hit_sets(question, checkpoints, random.Random(SEED + trace))  # noqa: S311
        for total, masks in zip(sums, hit_sets, strict=True):
            spend(4 * question.shards)
            depths = [depth(mask) for mask in masks]
            total[0] += sum(depths) / question.places
            total[1] += min(depths) / question.slices
            total[2] += 0 in depths
    return [
        Point(deletions, *(value / count for value in total))
        for deletions, total in zip(checkpoints, sums, strict=True)
    ]


def _trace_count(question: PlanQuestion, checkpoints: Sequence[int]) -> int:
    draws = DRAWS // (checkpoints[-1] * question.hits.records_per_owner)
    looks = COMPARISONS // (question.shards * len(checkpoints) * len(question.sets.parents))
    return max(LEAST_TRACES, min(MOST_TRACES, draws, looks))


def _hit_sets(question: PlanQuestion, checkpoints: Iterable[int], source: random.Random) -> Iterator[list[int]]:
    """Yield at each checkpoint the mask of hit slices of every shard; the list is the same one, going on."""
    masks = [0] * question.shards
    done = 0
    for deletions in checkpoints:
        hits = (deletions - done) * question.hits.records_per_owner
        for shard, number in draw_hits(question, source, hits):
            masks[shard] |= 1 << number
        done = deletions
        yield masks


def draw_hits(question: PlanQuestion, source: random.Random, hits: int) -> list[tuple[int, int]]:
    """Return so many hits in order, each the shard and the slice."""
    spend(6 * hits)
    shards = source.choices(range(question.shards), k=hits)
    slices = source.choices(range(question.slices), question.hits.weights, k=hits)
    return list(zip(shards, slices, strict=True))
