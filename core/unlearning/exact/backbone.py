"""The backbone: pre-trained once on the data set's public rows, or drawn by chance, then frozen for good.

Public rows are never deletable, so nothing here is a function of an owner. Its head answers when every shard is dead
and is where nodes of depth 1 start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from core.domain.errors import NoPublicPart
from core.domain.model import BackboneRecipe
from core.modelling.backbone import Backbone, BackboneShape
from core.modelling.losses import mean_loss
from core.modelling.tensors import NamedTensors, tensor_digest
from core.unlearning.exact.adamw import FlatAdamW, cosine

WARM_UP_SHARE = 0.1
HEAD_ROWS = 64
"""How many rows a ready backbone sees at once while its head is fitted."""
TABLE_DEVIATION = 1.0
"""Standard deviation that positions, the class token and other tables start with. Large, so that few rows suffice to tell places
apart: on 500 digits the public head reaches 0.93, against 0.65 with the customary small start."""


def backbone_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the hex digest that node keys and manifests carry."""
    return tensor_digest(tensors)


def pretrain(  # noqa: PLR0913 — rows, their shape, their recipe, chance and a witness: no two of them are one thing
    inputs: Tensor,
    targets: Tensor,
    shape: BackboneShape,
    recipe: BackboneRecipe,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> NamedTensors:
    """Train a backbone and its public head on public rows; the same seed gives the same bits.

    Args:
        inputs: (n, *input_shape).
        targets: (n,) labels or numbers, as the shape's task wants them.
        shape: the backbone's sizes.
        recipe: how long and how fast.
        seed: 0..2^63-1, for first weights, order and what pre-training varies.
        progress: called with the number of epochs done.

    Raises:
        NoPublicPart: there are no rows.
    """
    if len(inputs) == 0:
        raise NoPublicPart
    chance = torch.Generator().manual_seed(seed)
    first = initial_tensors(shape, chance)
    optimiser = FlatAdamW(first, dict.fromkeys(first, recipe.learning_rate), recipe.weight_decay)
    steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
    step = 0
    for epoch in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(inputs), generator=chance), recipe.batch_size):
            varied = shape.augmented(inputs[rows], recipe, chance)
            logits = public_logits(shape.backbone(optimiser.tensors()), varied)
            loss = mean_loss(shape.task, logits, targets[rows])
            optimiser.step(loss, cosine(step, steps, int(WARM_UP_SHARE * steps)))
            step += 1
        progress(epoch + 1)
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}


def drawn(shape: BackboneShape, *, seed: int) -> NamedTensors:
    """Return a backbone that learned nothing, drawn by chance: what there is where no row is public.

    Its public head is silent: it finds every label as likely, and every number in the middle of its range.
    """
    return initial_tensors(shape, torch.Generator().manual_seed(seed))


def fitted_head(  # noqa: PLR0913 - as `pretrain`
    backbone: Backbone,
    inputs: Tensor,
    targets: Tensor,
    recipe: BackboneRecipe,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> NamedTensors:
    """Train a public head, and nothing else, on public rows seen through a backbone that came ready; see `pretrain`."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = backbone.folded(range(backbone.shape.layers), {}, 0.0)
        parts = [backbone.top_features(backbone.embed(part), weights) for part in torch.split(inputs, HEAD_ROWS)]
        features = torch.cat(parts)
    head = {name: backbone.tensors[name] for name in ("head.weight", "head.bias")}
    optimiser = FlatAdamW(head, dict.fromkeys(head, recipe.learning_rate), recipe.weight_decay)
    steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
    step = 0
    for epoch in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(inputs), generator=chance), recipe.batch_size):
            own = optimiser.tensors()
            outputs = linear(features[rows], own["head.weight"], own["head.bias"])
            optimiser.step(mean_loss(backbone.shape.task, outputs, targets[rows]), cosine(step, steps))
            step += 1
        progress(epoch + 1)
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}


def public_logits(backbone: Backbone, inputs: Tensor) -> Tensor:
    """Return (n, outputs) logits of the bare backbone under its public head."""
    features = backbone.top_features(backbone.embed(inputs), backbone.folded(range(backbone.shape.layers), {}, 0.0))
    return linear(features, backbone.tensors["head.weight"], backbone.tensors["head.bias"])


def initial_tensors(shape: BackboneShape, chance: torch.Generator) -> NamedTensors:
    """Return first weights: norms pass through, the head is silent, matrices keep the variance of what they read."""
    tensors: NamedTensors = {}
    for name, size in shape.tensor_shapes().items():
        if name.endswith("norm.weight"):
            tensors[name] = torch.ones(size)
        elif name.endswith("bias") or name.startswith("head."):
            tensors[name] = torch.zeros(size)
        elif name in shape.tables:
            tensors[name] = TABLE_DEVIATION * torch.randn(size, generator=chance)
        else:
            tensors[name] = torch.randn(size, generator=chance) / math.prod(size[1:]) ** 0.5
    return tensors
