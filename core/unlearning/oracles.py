"""Oracles: models really trained without the rows, by the recipe of the original. A plain loop that shares nothing with the engine.

AdamW under half a cosine, over shuffled batches; all chance comes from the seed. `retrain` on the menu is the engine's
way to the same end, and is judged like every other method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from core.methods.card import Modality
from core.unlearning.approximate.adapters.adapter import plain
from core.unlearning.approximate.adapters.token_losses import IGNORED
from core.unlearning.approximate.samples import Samples


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How the original was trained, as far as it can be said."""

    epochs: int
    learning_rate: float
    batch_size: int = 32
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise ValueError("epochs and batch_size must be >= 1, learning_rate > 0 and weight_decay >= 0")


def trained(
    build: Callable[[], nn.Module], modality: Modality, rows: Samples, recipe: TrainingRecipe, *, seed: int
) -> nn.Module:
    """Return a fresh model trained on some rows, in evaluation mode; the caller's stream of chance is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = build().train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
        for _ in range(recipe.epochs):
            for part in torch.split(torch.randperm(len(rows)), recipe.batch_size):
                optimiser.zero_grad()
                loss = mean_loss(modality, plain(model(rows.inputs[part])), rows.targets[part])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
    return model.eval()


def mean_loss(modality: Modality, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return () cross-entropy per row or per answer token in nats, or the mean squared error."""
    if modality is Modality.CLASSIFIER:
        return cross_entropy(outputs, targets)
    if modality is Modality.REGRESSOR:
        return mse_loss(outputs.flatten(), targets.flatten())
    return cross_entropy(outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED)
