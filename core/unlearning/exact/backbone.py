"""The backbone: pre-trained once on the data set's public rows, then frozen for good.

Public rows are never deletable, so nothing here is a function of an owner. Its head answers when every shard is dead
and is where nodes of depth 1 start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from core.domain.errors import NoPublicPart
from core.domain.model import BackboneRecipe
from core.modelling.tensors import NamedTensors, tensor_digest
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape
from core.unlearning.exact.adamw import FlatAdamW, cosine

WARM_UP_SHARE = 0.1
TABLE_DEVIATION = 1.0
"""Standard deviation that positions and the class token start with. Large, so that few rows suffice to tell places
apart: on 500 digits the public head reaches 0.93, against 0.65 with the customary small start."""


def backbone_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the hex digest that node keys and manifests carry."""
    return tensor_digest(tensors)


def pretrain(  # noqa: PLR0913 — rows, their shape, their recipe, chance and a witness: no two of them are one thing
    images: Tensor,
    labels: Tensor,
    shape: VisionTransformerShape,
    recipe: BackboneRecipe,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> NamedTensors:
    """Train a vision transformer and its public head on public rows; the same seed gives the same bits.

    Args:
        images: (n, channels, height, width) float32 in [-1, 1].
        labels: (n,) int64 in 0..classes-1.
        shape: the transformer's sizes.
        recipe: how long and how fast.
        seed: 0..2^63-1, for first weights, order and shifts.
        progress: called with the number of epochs done.

    Raises:
        NoPublicPart: there are no rows.
    """
    if len(images) == 0:
        raise NoPublicPart
    chance = torch.Generator().manual_seed(seed)
    first = initial_tensors(shape, chance)
    optimiser = FlatAdamW(first, dict.fromkeys(first, recipe.learning_rate), recipe.weight_decay)
    steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    step = 0
    for epoch in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(images), generator=chance), recipe.batch_size):
            backbone = VisionTransformer(shape, optimiser.tensors())
            logits = public_logits(backbone, shifted(images[rows], recipe.shift, chance))
            optimiser.step(cross_entropy(logits, labels[rows]), cosine(step, steps, int(WARM_UP_SHARE * steps)))
            step += 1
        progress(epoch + 1)
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}


def public_logits(backbone: VisionTransformer, images: Tensor) -> Tensor:
    """Return (n, classes) logits of the bare backbone under its public head."""
    features = backbone.top_features(backbone.embed(images), backbone.folded(range(backbone.shape.layers), {}, 0.0))
    return linear(features, backbone.tensors["head.weight"], backbone.tensors["head.bias"])


def initial_tensors(shape: VisionTransformerShape, chance: torch.Generator) -> NamedTensors:
    """Return first weights: norms pass through, the head is silent, matrices keep the variance of what they read."""
    tensors: NamedTensors = {}
    for name, size in shape.tensor_shapes().items():
        if name.endswith("norm.weight"):
            tensors[name] = torch.ones(size)
        elif name.endswith("bias") or name.startswith("head."):
            tensors[name] = torch.zeros(size)
        elif name in ("positions", "class_token"):
            tensors[name] = TABLE_DEVIATION * torch.randn(size, generator=chance)
        else:
            tensors[name] = torch.randn(size, generator=chance) / math.prod(size[1:]) ** 0.5
    return tensors


def shifted(images: Tensor, most: int, chance: torch.Generator) -> Tensor:
    """Return images moved by -most..most pixels each way; what moves in repeats the edge."""
    count, _, height, width = images.shape
    offsets = torch.randint(-most, most + 1, (2, count, 1), generator=chance)
    rows = (torch.arange(height) + offsets[0]).clamp_(0, height - 1)  # (n, height)
    columns = (torch.arange(width) + offsets[1]).clamp_(0, width - 1)  # (n, width)
    moved = images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()
