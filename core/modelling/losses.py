"""What training makes small: a loss per row, as the task decides."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.domain.task import TaskName

TARGET_TYPES = {TaskName.CLASSIFICATION: torch.int64, TaskName.REGRESSION: torch.float32}
"""How a task's targets are written: the index of a label, or a number that is -1 and 1 at the ends of its range."""


def row_losses(task: TaskName, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) losses: cross-entropy in nats, or the squared error in units of half the declared range.

    Args:
        task: which of the two.
        outputs: (n, labels) logits, or (n, 1) numbers.
        targets: (n,) int64 labels, or float32 numbers.
    """
    if task is TaskName.CLASSIFICATION:
        return cross_entropy(outputs, targets, reduction="none")
    return (outputs[:, 0] - targets).square()


def mean_loss(task: TaskName, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return () the mean of the rows' losses."""
    if task is TaskName.CLASSIFICATION:
        return cross_entropy(outputs, targets)
    return row_losses(task, outputs, targets).mean()
