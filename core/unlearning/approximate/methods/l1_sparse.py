"""`l1_sparse`: fine-tuning under a penalty that fades (arXiv:2304.04934)."""

from __future__ import annotations

import torch
from torch import Tensor

from core.methods.l1_sparse import L1SparseSettings
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Penalty, Phase, Recipe
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import training


def recipe(settings: L1SparseSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    one = Pass(selector=Alone("retain"), terms=[training("retain")], penalty=fading_norm(settings.sparsity))
    return Recipe(phases=[Phase(passes=[one], epochs=settings.epochs, descent=descent)])


def fading_norm(sparsity: float) -> Penalty:
    """Return the sum of all trained weights' absolute values, times a factor that falls to 0 over the phase."""

    def penalty(kitchen: Kitchen) -> Tensor:
        norms = torch.stack([one.abs().sum() for one in kitchen.trained.values()])
        return sparsity * (1 - kitchen.done) * norms.sum()

    return penalty
