"""Low-rank factors on the query and value projections of one layer, and how nodes spell their names (arXiv:2106.09685).

The update of a weight is `scale * b @ a`, with scale = alpha / sqrt(rank) (rank-stabilised, arXiv:2312.03732).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Adapter(NamedTuple):
    """The factors of one layer: a is (rank, width), b is (width, rank)."""

    q_a: Tensor
    q_b: Tensor
    v_a: Tensor
    v_b: Tensor


Adapters = Mapping[int, Adapter]


def scaling(alpha: float, rank: int) -> float:
    return alpha / math.sqrt(rank)


def factor_name(layer: int, factor: str) -> str:
    return f"layer.{layer}.{factor}"


def adapters_from(tensors: Mapping[str, Tensor]) -> dict[int, Adapter]:
    """Return the factors that a node's tensors hold, by layer.

    Raises:
        KeyError: a layer lacks one of its four factors.
    """
    layers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("layer.")})
    return {layer: Adapter(*(tensors[factor_name(layer, factor)] for factor in Adapter._fields)) for layer in layers}
