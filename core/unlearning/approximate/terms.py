"""Values per row that more than one method makes smaller, larger or nearer."""

from __future__ import annotations

from torch import Tensor

from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Term, Values
from core.unlearning.approximate.samples import Batch, Stream


def losses(kitchen: Kitchen, batch: Batch) -> Tensor:
    """Return (b,) the training loss on the rows' own targets."""
    return kitchen.losses(batch)


def training(stream: Stream, weight: float = 1.0) -> Term:
    """Return the term that training itself makes smaller."""
    return Term(stream=stream, values=losses, weight=weight)


def distance_to_original(temperature: float = 1.0) -> Values:
    """Return the divergence of the original's answers from the model's."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        outputs, before = kitchen.outputs(batch), kitchen.original_outputs(batch)
        return kitchen.adapter.divergences(outputs, before, batch.targets, temperature=temperature)

    return values


def distance_to_frozen(name: str) -> Values:
    """Return the divergence of a kept network's answers from the model's."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        outputs, wanted = kitchen.outputs(batch), kitchen.frozen_outputs(name, batch)
        return kitchen.adapter.divergences(outputs, wanted, batch.targets)

    return values


def losses_on(labels: str) -> Values:
    """Return the loss on prepared targets instead of the rows' own."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        drawn = kitchen.kept[labels].to(batch.targets.device)[batch.rows.to(batch.targets.device)]
        return kitchen.losses(batch.with_targets(drawn))

    return values
