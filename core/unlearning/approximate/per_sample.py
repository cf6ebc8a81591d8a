"""Gradients row by row, and the importance of weights that only they give: the mean of squares is not the square of a mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.samples import Batch, Stream

Value = Literal["losses", "energies"]
MOST_ENTRIES_AT_ONCE = 50_000_000


def per_sample_gradients(kitchen: Kitchen, batch: Batch, of: Value = "losses") -> dict[str, Tensor]:
    """Return (b, *shape) gradients of each row's loss, or of its answer's squared norm, for every trained weight."""
    trained = {name: one.detach() for name, one in kitchen.trained.items()}
    kitchen.ledger.add(len(batch), backward=True)
    with torch.enable_grad():
        found = vmap(grad(_value(kitchen, of)), in_dims=(None, 0, 0), randomness="error")(
            trained, batch.inputs, batch.targets
        )
    assert isinstance(found, dict)  # noqa: S101 - shaped like its first argument
    return {name: one.detach() for name, one in found.items()}


def _value(kitchen: Kitchen, of: Value) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    values = kitchen.adapter.losses if of == "losses" else kitchen.adapter.energies

    def value(trained: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = answer(kitchen, trained, inputs[None])
        return values(outputs, targets[None])[0]

    return value


def answer(kitchen: Kitchen, trained: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Return what the model would answer with these weights."""

    class Substituted(torch.nn.Module):
        def forward(self, given: Tensor) -> object:
            return functional_call(kitchen.student, trained, (given,))

    return kitchen.adapter.outputs(Substituted(), inputs)


def importance(kitchen: Kitchen, *streams: Stream, of: Value = "losses") -> dict[str, Tensor]:
    """Return E[g²] per weight over all rows of some streams: the diagonal of the empirical Fisher information."""
    total = {name: torch.zeros_like(one) for name, one in kitchen.trained.items()}
    rows = 0
    entries = sum(one.numel() for one in total.values())
    size = max(1, min(kitchen.rows_at_once, MOST_ENTRIES_AT_ONCE // entries))
    for whole in kitchen.through(*streams):
        rows += len(whole)
        for first in range(0, len(whole), size):
            part = slice(first, first + size)
            batch = Batch(whole.stream, whole.rows[part], whole.inputs[part], whole.targets[part])
            for name, found in per_sample_gradients(kitchen, batch, of).items():
                total[name] += found.square().sum(0)
    return {name: one / rows for name, one in total.items()}
