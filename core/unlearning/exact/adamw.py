"""AdamW over one flat vector (arXiv:1711.05101), fresh for every node, and the cosine that its rates follow.

Nodes are small: a dozen tensors stepped one by one would cost more in calls than in arithmetic. Every operation is
elementwise, so the result does not depend on how threads share the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8


class FlatAdamW:
    """Parameters as one vector, each element with a learning rate of its own."""

    def __init__(self, tensors: Mapping[str, Tensor], rates: Mapping[str, float], weight_decay: float) -> None:
        self._shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.flat = torch.cat([tensor.detach().flatten() for tensor in tensors.values()]).requires_grad_()
        self._rates = torch.cat(
            [torch.full((tensor.numel(),), rates[name], device=tensor.device) for name, tensor in tensors.items()]
        )
        self._weight_decay = weight_decay
        self._first, self._second = torch.zeros_like(self._rates), torch.zeros_like(self._rates)
        self._steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters by name, as views that gradients flow through."""
        parts = torch.split(self.flat, [shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    @torch.no_grad()
    def step(self, loss: Tensor, factor: float | Tensor) -> None:
        """Descend once on a scalar loss, at `factor` times the learning rates: one for all elements, or one for each."""
        (gradient,) = torch.autograd.grad(loss, self.flat)
        self._steps += 1
        self._first.lerp_(gradient, 1 - FIRST_DECAY)
        self._second.mul_(SECOND_DECAY).addcmul_(gradient, gradient, value=1 - SECOND_DECAY)
        rates = self._rates * factor
        if self._weight_decay:
            self.flat.sub_(rates * self.flat, alpha=self._weight_decay)
        scale = (self._second / (1 - SECOND_DECAY**self._steps)).sqrt_().add_(EPSILON)
        self.flat.sub_(rates * self._first / scale, alpha=1 / (1 - FIRST_DECAY**self._steps))


def cosine(step: int, steps: int, warm_up: int = 0) -> float:
    """Return the share of the learning rate at step 0..steps-1: a linear rise, then half a cosine down to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))
