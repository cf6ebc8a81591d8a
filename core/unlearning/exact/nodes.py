"""A node's tensors: everything its stage changed, and nothing else (DESIGN §4.2).

Low-rank factors of exactly its layer group (`layer.3.q_a` …) and its own head (`head.weight`, `head.bias`), which nodes of
a language model do not have. The head is a snapshot: a later stage trains a copy, so switching that stage off takes its influence on the head away too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from core.domain.model import NodeRecipe
from core.modelling.adapters import factor_name, query_and_value
from core.modelling.tensors import NamedTensors

NodeTensors = NamedTensors
HEAD = ("head.weight", "head.bias")


def declared_names(group: Iterable[int], projections: Iterable[str] = "qv", *, head: bool = True) -> list[str]:
    """Return the names of all tensors that a stage on this layer group may have."""
    factors = [f"{projection}_{factor}" for projection in projections for factor in "ab"]
    return [factor_name(layer, factor) for layer in group for factor in factors] + list(HEAD if head else ())


def initial_node(
    group: Iterable[int],
    head: Mapping[str, Tensor],
    recipe: NodeRecipe,
    key: str,
    adapted: Mapping[str, tuple[int, int]] | None = None,
) -> NodeTensors:
    """Return a node before training: no effect on the layers, and a copy of the head it starts from.

    Args:
        group: its layers.
        head: the parent's tensors, or the backbone's for depth 1.
        recipe: gives the rank.
        key: the node's key, which seeds the factors.
        adapted: the projections with factors and the shape of each one's weight; None: query and value, as wide as the head.
    """
    adapted = query_and_value(head["head.weight"].shape[1]) if adapted is None else adapted
    chance = torch.Generator().manual_seed(int(key[:15], 16))
    tensors: NodeTensors = {}
    for layer in group:
        for projection, (rows, columns) in adapted.items():
            # b is zero, so the first forward pass is the parent's; a spreads evenly over ±1/sqrt(columns) as in peft.
            random = torch.rand((recipe.rank, columns), generator=chance)
            tensors[factor_name(layer, f"{projection}_a")] = (2 * random - 1) / columns**0.5
            tensors[factor_name(layer, f"{projection}_b")] = torch.zeros(rows, recipe.rank)
    return tensors | {name: head[name].clone() for name in HEAD if name in head}


def check_chain(
    chain: Sequence[NodeTensors], groups: Sequence[range], projections: Iterable[str] = "qv", *, head: bool = True
) -> None:
    """Check that each node of a chain holds its own layer group and a head, no more and no less.

    Raises:
        ValueError: some node holds other tensors, or the chain has another length.
    """
    for depth, (node, group) in enumerate(zip(chain, groups, strict=True), start=1):
        if set(node) != set(declared_names(group, projections, head=head)):
            raise ValueError(f"the node of depth {depth} does not hold exactly its layer group and a head")
