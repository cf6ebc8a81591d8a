"""Plain training, for originals, oracles and planted models: AdamW, the rate falling as half a cosine, a seed. Nothing else.

It shares nothing with the engine of methods, so that no fault of the engine's is in what methods are measured against. `retrain`
on the menu is the engine's way to the same end, and is judged like every other method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from core.domain.checkpoint import Training
from core.domain.task import Modality
from core.modelling.losses import UNTRAINED


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How one training goes."""

    training: Training
    seed: int
    epochs: int | None = None
    """None: as many as the training has."""
    sign: float = 1.0
    """-1 climbs the loss instead."""


def taught(
    begin: Callable[[], nn.Module], modality: Modality, inputs: Tensor, targets: Tensor, lesson: Lesson
) -> nn.Module:
    """Train what asks for gradients in a network, and return it ready to answer; the caller's stream of chance stays as it was.

    Args:
        begin: called once under the lesson's seed; makes the network, or hands over the one that goes on learning, in place.
        modality: decides the loss.
        inputs: (n, …) what the network reads.
        targets: (n, …) what it is to say.
        lesson: all chance comes from its seed.
    """
    training = lesson.training
    epochs = lesson.epochs or training.epochs
    with torch.random.fork_rng([]):
        torch.manual_seed(lesson.seed)
        network = begin().train()
        moving = [one for one in network.parameters() if one.requires_grad]
        optimiser = torch.optim.AdamW(moving, lr=training.learning_rate, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for _ in range(epochs):
            for part in torch.split(torch.randperm(len(inputs)), training.batch_size):
                optimiser.zero_grad()
                answer = network(inputs[part])
                loss = mean_loss(modality, getattr(answer, "logits", answer), targets[part])
                (lesson.sign * loss).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
    return network.eval()


def mean_loss(modality: Modality, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return () cross-entropy per row or per answer token in nats, or the mean squared error."""
    if modality is Modality.CLASSIFIER:
        return cross_entropy(outputs, targets)
    if modality is Modality.REGRESSOR:
        return mse_loss(outputs.flatten(), targets.flatten())
    return cross_entropy(outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=UNTRAINED)
