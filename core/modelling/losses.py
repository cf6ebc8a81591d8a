"""What training makes small: a loss per row, as the task decides."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.domain.task import TaskName

TARGET_TYPES = {
    TaskName.CLASSIFICATION: torch.int64,
    TaskName.REGRESSION: torch.float32,
    TaskName.LANGUAGE: torch.int64,
}
"""How a task's targets are written: the index of a label, or a number that is -1 and 1 at the ends of its range."""
UNTRAINED = -100
"""The target of a token that is read and not learned: of a prompt, or filling up."""


def row_losses(task: TaskName, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) losses: cross-entropy in nats, or the squared error in units of half the declared range.

    A text's loss is the mean over its tokens that are learned, so a long text weighs as much as a short one.

    Args:
        task: which of the three.
        outputs: (n, labels) logits, (n, 1) numbers, or (n, tokens, vocabulary) logits.
        targets: (n,) int64 labels, (n,) float32 numbers, or (n, tokens) int64 next tokens, `UNTRAINED` where none is learned.
    """
    if task is TaskName.LANGUAGE:
        losses = cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=UNTRAINED, reduction="none")
        return losses.view(targets.shape).sum(dim=1) / (targets != UNTRAINED).sum(dim=1).clamp(min=1)
    if task is TaskName.CLASSIFICATION:
        return cross_entropy(outputs, targets, reduction="none")
    return (outputs[:, 0] - targets).square()


def mean_loss(task: TaskName, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return () the mean of the rows' losses."""
    if task is TaskName.CLASSIFICATION:
        return cross_entropy(outputs, targets)
    return row_losses(task, outputs, targets).mean()
