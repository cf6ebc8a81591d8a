"""What every adapter answers. Each answer is one number per row, so that the engine alone decides how rows are averaged."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from core.methods.card import Modality


class ModelAdapter(Protocol):
    @property
    def modality(self) -> Modality: ...

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return logits (b, classes), predictions (b, d) or token logits (b, t, vocabulary)."""

    def units(self, targets: Tensor) -> Tensor:
        """Return (b,) how many predictions each row asks for: 1, or its answer tokens."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (b,) the training loss of each row, summed over its units."""

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (b,) how right each row is, summed over its units: 1 per right unit, or minus the absolute error."""

    def margins(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (b,) log p/(1-p) of the target, minus the loss per unit, or minus the absolute error."""

    def divergences(self, outputs: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Return (b,) KL(teacher || outputs) in nats, or the squared distance, summed over the row's units."""

    def energies(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (b,) the squared norm of what the model says, whatever is right."""

    def relabelled(self, targets: Tensor, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return targets drawn at random, each different from the true one; `outputs` tells what there is to choose from."""

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        """Return, per row, the second derivative of `losses` by the outputs, times a direction in output space."""


def plain(answer: object) -> Tensor:
    """Return the tensor in what a model answered."""
    found = getattr(answer, "logits", answer)
    if not isinstance(found, Tensor):
        raise TypeError(f"a model answers with a tensor or with .logits, this one with {type(answer).__name__}")
    return found
