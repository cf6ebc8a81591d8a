"""What a predictor serves of a ridge model: one head over the frozen backbone, solved from what all shards hold together.

Shards are no voters here. Their sums are added before anything is solved, so the head is the one that a single shard
would give, bit for bit, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from core.domain.model import RidgeRecipe
from core.domain.task import TaskName
from core.modelling.backbone import Backbone
from core.modelling.layers import LayerWeights
from core.modelling.moments import LARGEST, Moments, moments, one_hot, solve, total
from core.modelling.tensors import NamedTensors


def sums_of(rows: NamedTensors, backbone: Backbone) -> NamedTensors:
    """Return the `gram` and `cross` sums over a node's rows: all of them that a predictor keeps."""
    outputs = backbone.shape.outputs
    targets = rows["targets"].numpy()
    spread = one_hot(targets, outputs) if backbone.shape.task is TaskName.CLASSIFICATION else targets[:, None]
    sums = moments(rows["features"].numpy(), spread)
    return {"gram": torch.from_numpy(sums.gram), "cross": torch.from_numpy(sums.cross)}


@dataclass(frozen=True)
class RidgeHead:
    """The frozen backbone under a head in closed form; as a public head where no row is left."""

    backbone: Backbone
    bare: tuple[LayerWeights, ...]
    weight: Tensor
    """(outputs, width)"""
    bias: Tensor
    """(outputs,)"""
    degraded: bool
    """Whether no shard is alive, or none holds a row, so that the public head answers."""

    @classmethod
    def build(cls, backbone: Backbone, shards: Sequence[NamedTensors], recipe: RidgeRecipe) -> RidgeHead:
        """Add up what `sums_of` gave for every live shard, and solve."""
        bare = backbone.folded(range(backbone.shape.layers), {}, 0.0)
        parts = [Moments(sums["gram"].numpy(), sums["cross"].numpy()) for sums in shards]
        whole = total(parts) if parts else None
        if whole is None or whole.rows == 0:
            return cls(backbone, bare, backbone.tensors["head.weight"], backbone.tensors["head.bias"], degraded=True)
        sharpness = recipe.sharpness if backbone.shape.task is TaskName.CLASSIFICATION else 1.0
        weights = torch.from_numpy((solve(whole, recipe.penalty) * sharpness).astype(np.float32))
        return cls(backbone, bare, weights[:-1].T.contiguous(), weights[-1].contiguous(), degraded=False)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Return (n, outputs) logits of (n, *input_shape) inputs; for a regression (n, 1) numbers in [-1, 1]."""
        features = self.backbone.top_features(self.backbone.embed(inputs), self.bare)
        if not self.degraded:
            features = features.clamp(-LARGEST, LARGEST)
        return linear(features, self.weight, self.bias)
