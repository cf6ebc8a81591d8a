"""Classifiers: logits (b, classes), targets (b,) int64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import plain


class Classifier:
    modality = Modality.CLASSIFIER

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        return plain(model(inputs))

    def units(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets), device=targets.device)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()

    def margins(self, outputs: Tensor, targets: Tensor) -> Tensor:
        own = outputs.gather(-1, targets[:, None])[:, 0]
        others = outputs.scatter(-1, targets[:, None], -torch.inf)
        return own - others.logsumexp(-1)

    def divergences(self, outputs: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
        del targets
        return divergence(outputs, teacher, temperature)

    def energies(self, outputs: Tensor, targets: Tensor) -> Tensor:
        del targets
        return outputs.square().sum(-1)

    def relabelled(self, targets: Tensor, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return another_class(targets, outputs.shape[-1], generator)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        del targets
        return softmax_curvature(outputs, direction)


def divergence(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || outputs) over the last axis at a temperature, times its square (arXiv:1503.02531)."""
    wanted = log_softmax(teacher / temperature, -1)
    said = log_softmax(outputs / temperature, -1)
    return temperature**2 * (wanted.exp() * (wanted - said)).sum(-1)


def softmax_curvature(outputs: Tensor, direction: Tensor) -> Tensor:
    """Return (diag(p) - p pᵀ) times a direction, over the last axis."""
    probabilities = outputs.softmax(-1)
    return probabilities * (direction - (probabilities * direction).sum(-1, keepdim=True))


def another_class(targets: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return classes drawn evenly from all but the true one."""
    if classes < 2:  # noqa: PLR2004 - with one class there is no other
        raise ValueError("there is no other class")
    shift = torch.randint(1, classes, targets.shape, generator=generator).to(targets.device)
    return (targets + shift) % classes
