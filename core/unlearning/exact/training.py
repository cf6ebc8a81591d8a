"""One stage of the lattice: train one layer group and one head on the union of a node's slices (arXiv:2406.16257).

Only the parents' tensors cross a stage. Optimiser, seeds and order are fresh and come from the node's key, so a node
is a function of its key and its records: the same in any process, after any history (DESIGN §4.2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from core.domain.model import NodeRecipe, Precision, Recipe
from core.modelling.adapters import adapters_from, scaling
from core.modelling.backbone import Backbone, head_of
from core.modelling.devices import moved
from core.modelling.layers import LayerWeights
from core.modelling.losses import row_losses
from core.modelling.tensors import tensor_digest
from core.unlearning.exact.activations import CPU, SliceActivations
from core.unlearning.exact.adamw import FlatAdamW, cosine
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.loader import Batch, Loader
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.nodes import HEAD, NodeTensors, check_chain, initial_node
from core.unlearning.exact.ridge import learn


@dataclass(frozen=True, kw_only=True)
class TrainedNode:
    """What a stage leaves behind."""

    tensors: NodeTensors
    data_digest: str
    """Hex digest over what the loader really yielded."""
    tensor_digest: str
    records: int
    epochs: int
    """0 when the slices held no record, so that nothing was trained."""
    seconds: float


def train_node(
    spec: NodeSpec,
    *,
    activations: SliceActivations,
    parents: Sequence[NodeTensors],
    recipe: Recipe,
    progress: Callable[[int], None] = lambda _: None,
) -> TrainedNode:
    """Train one node.

    Args:
        spec: which node.
        activations: the shard's slices, seen through the frozen backbone.
        parents: tensors of the node's ancestors, from depth 1 down to the direct parent.
        recipe: the model's.
        progress: called with the number of epochs done; whatever it raises ends the training.

    Raises:
        TooFewLayers: the backbone has fewer layers than a shard has slices.
        ValueError: the parents are not those of a node of this depth.
    """
    if recipe.ridge is not None:
        return _read(spec, activations, progress)
    started = time.perf_counter()
    backbone = activations.backbone
    groups = [layer_group(backbone.shape.layers, recipe.slices, stage + 1) for stage in range(spec.depth)]
    adapted = backbone.shape.adapted
    check_chain(parents, groups[:-1], adapted, head="head.weight" in backbone.tensors)
    parents = [moved(parent, activations.device) for parent in parents]
    loader = Loader(spec.key, spec.slices, activations, groups[-1].start)
    head = parents[-1] if parents else backbone.tensors
    own_head = moved({name: head[name] for name in HEAD if name in head}, CPU)
    tensors = initial_node(groups[-1], own_head, recipe.node, spec.key, adapted)
    if len(loader):
        stage = Stage(backbone, groups[-1], layers_above(backbone, groups[-1].stop, parents, recipe.node), recipe.node)
        tensors = moved(_fitted(moved(tensors, activations.device), stage, loader, progress), CPU)
    return TrainedNode(
        tensors=tensors,
        data_digest=loader.data_digest(),
        tensor_digest=tensor_digest(tensors),
        records=len(loader),
        epochs=recipe.node.epochs if len(loader) else 0,
        seconds=time.perf_counter() - started,
    )


def _read(spec: NodeSpec, activations: SliceActivations, progress: Callable[[int], None]) -> TrainedNode:
    (number,) = spec.slices
    records = activations.slices[number]
    tensors, data, digest, seconds = learn(spec, records, activations.backbone, lambda _: progress(0))
    return TrainedNode(
        tensors=tensors,
        data_digest=data,
        tensor_digest=digest,
        records=len(records),
        epochs=1 if len(records) else 0,
        seconds=seconds,
    )


@dataclass(frozen=True)
class Stage:
    """Everything frozen around the layers that are trained."""

    backbone: Backbone
    group: range
    above: tuple[LayerWeights, ...]
    """The layers above the group, with the parents' factors folded in."""
    recipe: NodeRecipe

    def loss(self, tensors: NodeTensors, batch: Batch) -> Tensor:
        """Return () the task's loss, the mean over the batch's records."""
        adapters, scale = adapters_from(tensors), scaling(self.recipe.alpha, self.recipe.rank)
        halved = self.recipe.precision is Precision.BFLOAT16
        with torch.autocast(batch.hidden.device.type, torch.bfloat16, enabled=halved):
            trained = self.backbone.folded(self.group, adapters, scale)
            features = self.backbone.top_features(batch.hidden, trained + self.above)
            logits = linear(features, *head_of(self.backbone, tensors))
        losses = row_losses(self.backbone.shape.task, logits.float(), batch.targets)
        return (losses * batch.weights).sum() / batch.weights.sum()


def layers_above(
    backbone: Backbone, start: int, parents: Sequence[NodeTensors], recipe: NodeRecipe
) -> tuple[LayerWeights, ...]:
    """Return the layers from `start` up, with the factors of all ancestors folded in."""
    adapters = {layer: adapter for node in parents for layer, adapter in adapters_from(node).items()}
    return backbone.folded(range(start, backbone.shape.layers), adapters, scaling(recipe.alpha, recipe.rank))


def _fitted(tensors: NodeTensors, stage: Stage, loader: Loader, progress: Callable[[int], None]) -> NodeTensors:
    recipe = stage.recipe
    rates = {name: recipe.head_learning_rate if name in HEAD else recipe.learning_rate for name in tensors}
    optimiser = FlatAdamW(tensors, rates, recipe.weight_decay)
    steps = recipe.epochs * -(-len(loader) // recipe.batch_size)
    step = 0
    for epoch in range(recipe.epochs):
        for batch in loader.epoch(epoch, recipe.batch_size):
            optimiser.step(stage.loss(optimiser.tensors(), batch), cosine(step, steps))
            step += 1
        progress(epoch + 1)
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}
