"""Causal language models: token logits (b, t, v), inputs (b, t) token ids, targets (b, t) with -100 off the answer.

Rows are padded on the right, where a causal model's answers cannot depend on it, and the padding's targets are -100.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import plain
from core.unlearning.approximate.adapters.classifier import another_class, divergence, softmax_curvature
from core.unlearning.approximate.adapters.token_losses import IGNORED, shifted, token_losses


class CausalLanguageModel:
    modality = Modality.CAUSAL_LANGUAGE_MODEL

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        return plain(model(inputs))

    def units(self, targets: Tensor) -> Tensor:
        return (targets[:, 1:] != IGNORED).sum(-1).float()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return token_losses(outputs, targets).sum(-1)

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        said, wanted, counted = shifted(outputs, targets)
        return ((said.argmax(-1) == wanted) & counted).sum(-1).float()

    def margins(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -self.losses(outputs, targets) / self.units(targets)

    def divergences(self, outputs: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
        said, _, counted = shifted(outputs, targets)
        return (divergence(said, teacher[:, :-1], temperature) * counted).sum(-1)

    def energies(self, outputs: Tensor, targets: Tensor) -> Tensor:
        said, _, counted = shifted(outputs, targets)
        return (said.square().sum(-1) * counted).sum(-1)

    def relabelled(self, targets: Tensor, outputs: Tensor, generator: torch.Generator) -> Tensor:
        drawn = another_class(targets.clamp(min=0), outputs.shape[-1], generator)
        return torch.where(targets == IGNORED, targets, drawn)

    def curvature(self, outputs: Tensor, targets: Tensor, direction: Tensor) -> Tensor:
        counted = torch.zeros(targets.shape, dtype=torch.bool, device=targets.device)
        counted[:, :-1] = targets[:, 1:] != IGNORED
        return softmax_curvature(outputs, direction) * counted[..., None]
