"""What a lattice costs to train, to keep and to ask, with every sequence charged.

A stage of depth k passes over k slices, but trains only one group of layers. How much a pass is saved by that was read off
the timings of arXiv:2406.16257 (figure 14, 24 layers): 2.59 + 0.122 · layers trained, in their seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.lattice.cost import slice_epochs, struck_sets
from core.lattice.planner.question import PlanQuestion

PUBLISHED_LAYERS = 24
PASS_SECONDS, LAYER_SECONDS = 2.59, 0.122


@dataclass(frozen=True)
class Costs:
    """What is paid; training counts every pass once per epoch of a node."""

    nodes: int
    """Blocks that are stored, each with its head."""
    slice_epochs: int
    """Building all shards, equal sets trained once."""
    slice_epochs_as_sequences: int
    """Building all shards with every sequence trained by itself, as S3T is published; for tries the same as above."""
    slice_epochs_per_hit: float
    """Training again what one hit switches off, on average over slices as likely as they are."""
    data_passes: float
    """How often building feeds every record, per epoch."""
    training_against_fine_tuning: float
    """Building, in times of one full fine-tuning with as many epochs as a node has."""
    forward_passes: int
    """Nodes that are asked for one answer while nothing is hit: one per shard."""


def costs_of(question: PlanQuestion) -> Costs:
    """Return what the lattice costs."""
    family, shards, slices = question.sets, question.shards, question.slices
    each = slice_epochs(family.parents)
    chances = question.hits.chances(slices)
    again = [slice_epochs(struck_sets(family, {number})) for number in range(slices)]
    sequences = question.sequences * slices * (slices + 1) // 2
    return Costs(
        nodes=shards * len(family.parents),
        slice_epochs=shards * each,
        slice_epochs_as_sequences=shards * (sequences or each),
        slice_epochs_per_hit=sum(chance * cost for chance, cost in zip(chances, again, strict=True)),
        data_passes=each / slices,
        training_against_fine_tuning=each / slices * stage_share(question.layers, slices),
        forward_passes=shards,
    )


def stage_share(layers: int, slices: int) -> float:
    """Return the time of one pass that trains one layer group, in times of a pass that trains all layers."""
    trained = layers // slices / layers * PUBLISHED_LAYERS
    return (PASS_SECONDS + LAYER_SECONDS * trained) / (PASS_SECONDS + LAYER_SECONDS * PUBLISHED_LAYERS)
