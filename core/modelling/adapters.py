"""Low-rank factors on the projections of one layer, and how nodes spell their names (arXiv:2106.09685).

The update of a weight is `scale * b @ a`, with scale = alpha / sqrt(rank) (rank-stabilised, arXiv:2312.03732).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Adapter(NamedTuple):
    """The factors of one layer: a is (rank, columns) and b is (rows, rank) of the weight that they move.

    Query and value have them in every model, the others in language models only.
    """

    q_a: Tensor
    q_b: Tensor
    v_a: Tensor
    v_b: Tensor
    k_a: Tensor | None = None
    k_b: Tensor | None = None
    o_a: Tensor | None = None
    o_b: Tensor | None = None
    gate_a: Tensor | None = None
    gate_b: Tensor | None = None
    up_a: Tensor | None = None
    up_b: Tensor | None = None
    down_a: Tensor | None = None
    down_b: Tensor | None = None


Adapters = Mapping[int, Adapter]


def scaling(alpha: float, rank: int) -> float:
    return alpha / math.sqrt(rank)


def query_and_value(width: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of the weights that have factors in a model that is no language model."""
    return {"q": (width, width), "v": (width, width)}


def folded_in(weight: Tensor, adapter: Adapter | None, projection: str, scale: float) -> Tensor:
    """Return a weight with its factors folded in, where it has any."""
    low, high = (getattr(adapter, f"{projection}_{factor}", None) for factor in "ab")
    return weight if low is None or high is None else torch.addmm(weight, high, low, alpha=scale)


def factor_name(layer: int, factor: str) -> str:
    return f"layer.{layer}.{factor}"


def adapters_from(tensors: Mapping[str, Tensor]) -> dict[int, Adapter]:
    """Return the factors that a node's tensors hold, by layer.

    Raises:
        KeyError: a layer lacks a factor of query or value.
    """
    layers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("layer.")})
    always = Adapter._fields[:4]
    return {
        layer: Adapter(
            *(tensors[factor_name(layer, factor)] for factor in always),
            *(tensors.get(factor_name(layer, factor)) for factor in Adapter._fields[4:]),
        )
        for layer in layers
    }
