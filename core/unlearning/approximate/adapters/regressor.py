"""Regressors: predictions (b,) or (b, d), targets of the same shape; the loss is half the squared error."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import plain


class Regressor:
    modality = Modality.REGRESSOR

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        return plain(model(inputs)).reshape(len(inputs), -1)

    def units(self, targets: Tensor) -> Tensor:
        return torch.ones(len(targets), device=targets.device)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.errors(outputs, targets).square().sum(-1) / 2

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -self.errors(outputs, targets).abs().sum(-1)

    def margins(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scores(outputs, targets)

    def divergences(self, outputs: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
        del targets, temperature
        return (outputs - teacher).square().sum(-1) / 2

    def energies(self, outputs: Tensor, targets: Tensor) -> Tensor:
        del targets
        return outputs.square().sum(-1)

    def relabelled(self, targets: Tensor, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return targets drawn from a normal distribution of the targets' own mean and spread, per dimension."""
        del outputs
        noise = torch.randn(targets.shape, generator=generator).to(targets)
        return targets.mean(0) + targets.std(0, correction=0) * noise

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        del outputs, targets
        return direction

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (b, d) predictions minus targets.

        Raises:
            ValueError: the two do not fit, and would have been broadcast.
        """
        wanted = targets.reshape(len(targets), -1)
        if outputs.shape != wanted.shape:
            raise ValueError(f"predictions are {tuple(outputs.shape)}, targets {tuple(wanted.shape)}")
        return outputs - wanted
