"""What may be done to a step's gradient before the optimiser sees it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import GradientTransform


def clipped(largest: float) -> GradientTransform:
    """Return the transform that shortens a gradient to a length, all weights together."""

    def transform(_: Kitchen, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        length = torch.stack([one.norm() for one in gradients.values()]).norm()
        factor = (largest / (length + 1e-12)).clamp(max=1.0)
        return {name: one * factor for name, one in gradients.items()}

    return transform
