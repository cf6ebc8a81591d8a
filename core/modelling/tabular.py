"""Table rows as the backbone wants them: one float32 per column, numbers in [-1, 1] and categories as their index.

The range is the data set's contract and never read off the data, or deleting the largest number would move all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(numbers: NDArray[Any], categories: NDArray[Any], ranges: Sequence[tuple[float, float]]) -> Tensor:
    """Return rows scaled so that each column's minimum is -1 and its maximum is 1.

    Args:
        numbers: (n, numeric) float64 in the contract's units, NaN where a cell is empty.
        categories: (n, categorical) int64 indices, -1 where a cell is empty.
        ranges: each numeric column's lowest and highest value.

    Returns:
        (n, numeric + categorical) float32, numbers first, NaN where a cell is empty.

    Raises:
        ValueError: there are not as many ranges as columns of numbers.
    """
    if numbers.shape[1] != len(ranges):
        raise ValueError(f"{numbers.shape[1]} columns of numbers and {len(ranges)} ranges")
    scaled = (
        np.stack([scaled_number(numbers[:, at], *span) for at, span in enumerate(ranges)], axis=1)
        if ranges
        else numbers
    )
    codes = np.where(categories < 0, np.nan, categories)
    # One copy into torch's own memory: its alignment is fixed, numpy's is not, and kernels round by alignment.
    return torch.tensor(np.concatenate((scaled, codes), axis=1), dtype=torch.float32)


def scaled_number(value: NDArray[Any], minimum: float, maximum: float) -> NDArray[np.float64]:
    """Return values with the range's ends at -1 and 1."""
    return np.asarray((value - minimum) * (2.0 / (maximum - minimum)) - 1.0)


def unscaled_number(value: NDArray[Any], minimum: float, maximum: float) -> NDArray[np.float64]:
    """Return what `scaled_number` was given, held within the range."""
    return np.asarray(minimum + (np.clip(value.astype(np.float64), -1.0, 1.0) + 1.0) / 2.0 * (maximum - minimum))
