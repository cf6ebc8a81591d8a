"""Train many nodes of one depth together: their factors and heads stacked, one forward pass for all of them.

    K nodes, each with its own batch ──vmap over (factors, head, layers above, batch)──▶ K losses ──sum──▶ one gradient

Nodes share nothing but the frozen backbone, so the gradient of the sum is each node's own, and each element of the
optimiser knows one node only. On a GPU this fills the device; the sums inside a kernel run in another order than for one
node alone, so the bits are others. On a CPU nodes are trained one by one, which is canonical (`training.train_node`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from core.domain.model import Recipe
from core.modelling.devices import moved
from core.modelling.layers import LayerWeights
from core.modelling.tensors import tensor_digest
from core.unlearning.exact.activations import CPU, SliceActivations
from core.unlearning.exact.adamw import FlatAdamW, cosine
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.loader import Batch, Loader
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.nodes import HEAD, NodeTensors, check_chain, initial_node
from core.unlearning.exact.training import Stage, TrainedNode, layers_above


def train_nodes(
    specs: Sequence[NodeSpec],
    *,
    activations: SliceActivations,
    parents: Sequence[Sequence[NodeTensors]],
    recipe: Recipe,
    progress: Callable[[int], None] = lambda _: None,
) -> list[TrainedNode]:
    """Train nodes of one shard and one depth, in the order given.

    Args:
        specs: which nodes; at least one.
        activations: the shard's slices, seen through the frozen backbone.
        parents: for each node the tensors of its ancestors, from depth 1 down to the direct parent.
        recipe: the model's; not one of a ridge model, whose nodes are not trained.
        progress: called with the number of epochs done by those that have most to do.

    Raises:
        TooFewLayers: the backbone has fewer layers than a shard has slices.
        ValueError: the nodes are of different depths or of a ridge model, or parents are not those of such nodes.
    """
    started = time.perf_counter()
    if len({spec.depth for spec in specs}) != 1 or recipe.ridge is not None:
        raise ValueError("nodes that are trained together have one depth, and a recipe to be trained by")
    backbone, device = activations.backbone, activations.device
    groups = [layer_group(backbone.shape.layers, recipe.slices, stage + 1) for stage in range(specs[0].depth)]
    adapted = backbone.shape.adapted
    for line in parents:
        check_chain(line, groups[:-1], adapted, head="head.weight" in backbone.tensors)
    loaders = [Loader(spec.key, spec.slices, activations, groups[-1].start) for spec in specs]
    public = moved({name: backbone.tensors[name] for name in HEAD if name in backbone.tensors}, CPU)
    heads = [line[-1] if line else public for line in parents]
    tensors = [
        initial_node(groups[-1], head, recipe.node, spec.key, adapted) for head, spec in zip(heads, specs, strict=True)
    ]
    busy = [place for place, loader in enumerate(loaders) if len(loader)]
    if busy:
        above = [
            layers_above(backbone, groups[-1].stop, [moved(one, device) for one in parents[place]], recipe.node)
            for place in busy
        ]
        stage = Stage(backbone, groups[-1], (), recipe.node)
        first = {name: torch.stack([tensors[place][name] for place in busy]).to(device) for name in tensors[0]}
        fitted = _fitted(first, stage, _stacked(above), [loaders[place] for place in busy], progress)
        for row, place in enumerate(busy):
            tensors[place] = {name: stack[row].to(CPU).clone() for name, stack in fitted.items()}
    seconds = (time.perf_counter() - started) / len(specs)
    return [
        TrainedNode(
            tensors=own,
            data_digest=loader.data_digest(),
            tensor_digest=tensor_digest(own),
            records=len(loader),
            epochs=recipe.node.epochs if len(loader) else 0,
            seconds=seconds,
        )
        for own, loader in zip(tensors, loaders, strict=True)
    ]


def _fitted(
    first: NodeTensors,
    stage: Stage,
    above: tuple[LayerWeights, ...],
    loaders: Sequence[Loader],
    progress: Callable[[int], None],
) -> NodeTensors:
    """Return (nodes, …) tensors after each node's own number of steps; whoever is done stands still."""
    recipe = stage.recipe
    rates = {name: recipe.head_learning_rate if name in HEAD else recipe.learning_rate for name in first}
    optimiser = FlatAdamW(first, rates, recipe.weight_decay)
    each = [-(-len(loader) // recipe.batch_size) for loader in loaders]
    most = max(each)

    def loss(tensors: NodeTensors, layers: tuple[LayerWeights, ...], *batch: Tensor) -> Tensor:
        return Stage(stage.backbone, stage.group, layers, recipe).loss(tensors, Batch(*batch))

    fed = [_batches(loader, recipe.epochs, recipe.batch_size) for loader in loaders]
    latest: list[Batch] = [next(one) for one in fed]
    for step in range(recipe.epochs * most):
        if step:
            # Whoever is done is given its last batch again, at a rate of zero.
            latest = [next(one, last) for one, last in zip(fed, latest, strict=True)]
        pace = [cosine(step, recipe.epochs * own) if step < recipe.epochs * own else 0.0 for own in each]
        batch = [torch.stack(part) for part in zip(*latest, strict=True)]
        # The one kernel for attention that has a rule for stacks, forwards and backwards, on every device.
        with sdpa_kernel(SDPBackend.MATH):
            losses = torch.vmap(loss)(optimiser.tensors(), above, *batch)
            optimiser.step(losses.sum(), _spread(first, torch.tensor(pace)))
        if (step + 1) % most == 0:
            progress((step + 1) // most)
    return {name: tensor.detach().clone() for name, tensor in optimiser.tensors().items()}


def _batches(loader: Loader, epochs: int, batch_size: int) -> Iterator[Batch]:
    return chain.from_iterable(loader.epoch(epoch, batch_size) for epoch in range(epochs))


def _spread(tensors: NodeTensors, pace: Tensor) -> Tensor:
    """Return each node's pace for each of its elements, in the order in which the optimiser holds them."""
    parts = [
        pace.to(tensor.device).view(-1, *[1] * (tensor.ndim - 1)).expand_as(tensor).flatten()
        for tensor in tensors.values()
    ]
    return torch.cat(parts)


def _stacked(above: Sequence[tuple[LayerWeights, ...]]) -> tuple[LayerWeights, ...]:
    stacked: Any = tree_map(lambda *parts: torch.stack(parts), *above)
    return tuple(stacked)
