"""The plain training loop for oracles and planted models: AdamW, the rate falling as half a cosine, a seed. Nothing else.

It shares nothing with the engine of methods, so that no fault of the engine's is in what methods are measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.domain.checkpoint import Training
from core.domain.task import Modality

IGNORED = -100
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How one training goes."""

    training: Training
    seed: int
    epochs: int | None = None
    """None: as many as the training has."""
    sign: float = 1.0
    """-1 climbs the loss instead."""


def loss_of(modality: Modality) -> Loss:
    """Return the mean training loss of a batch."""
    if modality is Modality.CLASSIFIER:
        return nn.functional.cross_entropy
    if modality is Modality.REGRESSOR:
        return lambda outputs, targets: (outputs.flatten() - targets.flatten()).square().mean() / 2
    return lambda outputs, targets: nn.functional.cross_entropy(
        outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED
    )


def taught(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, lesson: Lesson) -> nn.Module:
    """Train what asks for gradients in a network, in place, and return it ready to answer."""
    training = lesson.training
    epochs = lesson.epochs or training.epochs
    with torch.random.fork_rng([]):
        torch.manual_seed(lesson.seed)
        moving = [one for one in network.parameters() if one.requires_grad]
        optimiser = torch.optim.AdamW(moving, lr=training.learning_rate, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        network.train()
        for _ in range(epochs):
            for part in torch.split(torch.randperm(len(inputs)), training.batch_size):
                optimiser.zero_grad()
                (lesson.sign * loss(network(inputs[part]), targets[part])).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
    return network.eval()
