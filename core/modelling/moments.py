"""Ridge regression in exact arithmetic: sums that forget a row as if it had never been there, and a solve whose bits are fixed.

    features ──fixed point──▶ integers ──sums of products──▶ A = XᵀX, B = XᵀY ──(A + λI)W = B──▶ W

Features are rounded once to multiples of 2⁻¹⁶, by a rule that looks at nothing else. From there to A and B there are whole
numbers only, so addition has no order, and A without a row *is* the A of all other rows: nothing is left to drift, however
many rows come and go. The solve is a Cholesky factorisation out of elementwise operations alone, each of them rounded as
IEEE 754 says, so one A and one B give the same bits on every processor, thread count and library. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS = 16
UNIT = 1 << FRACTION_BITS
LARGEST = 8.0
"""Features are held within ±8: a rule of their own, like a pixel's range, and never read off the rows."""
EXACT_ROWS = 1 << 15
"""Products of features stay below 2^38, so sums of so many of them are whole numbers that float64 holds exactly."""
PANEL = 64
MOST_ROWS = 1 << 24
"""With more rows, sums could leave 64 bits."""


@dataclass(frozen=True)
class Moments:
    """Sums over rows; the intercept is a last feature that is always one."""

    gram: NDArray[np.int64]
    """(features + 1, features + 1), in units of 2^-32."""
    cross: NDArray[np.int64]
    """(features + 1, outputs), in units of 2^-32."""

    @property
    def rows(self) -> int:
        return int(self.gram[-1, -1]) >> (2 * FRACTION_BITS)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.gram + other.gram, self.cross + other.cross)

    def __sub__(self, other: Moments) -> Moments:
        """Return the sums over the rows that are in this and not in the other: a downdate without rounding."""
        return Moments(self.gram - other.gram, self.cross - other.cross)


def fixed_point(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the nearest multiples of 2^-16 in ±8, as whole numbers of that unit.

    Raises:
        ValueError: a value is no number.
    """
    if np.isnan(values).any():
        raise ValueError("a feature is no number")
    return np.rint(np.clip(values.astype(np.float64), -LARGEST, LARGEST) * UNIT).astype(np.int32)


def one_hot(labels: NDArray[Any], outputs: int) -> NDArray[np.int32]:
    """Return (n, outputs) in units of 2^-16: one where the label is, nothing elsewhere."""
    return np.where(np.arange(outputs) == labels[:, None], UNIT, 0).astype(np.int32)


def moments(features: NDArray[np.int32], targets: NDArray[np.int32]) -> Moments:
    """Return the sums over (n, features) and (n, outputs), both in units of 2^-16.

    Raises:
        ValueError: there are too many rows for 64 bits.
    """
    if len(features) > MOST_ROWS:
        raise ValueError(f"a ridge head takes at most {MOST_ROWS} rows")
    width, outputs = features.shape[1] + 1, targets.shape[1]
    gram, cross = np.zeros((width, width), np.int64), np.zeros((width, outputs), np.int64)
    for start in range(0, len(features), EXACT_ROWS):
        rows = np.ones((len(features[start : start + EXACT_ROWS]), width)) * UNIT
        rows[:, :-1] = features[start : start + EXACT_ROWS]
        # Whole numbers below 2^53 all the way: whatever order the library adds in, nothing is rounded.
        gram += (rows.T @ rows).astype(np.int64)
        cross += (rows.T @ targets[start : start + EXACT_ROWS].astype(np.float64)).astype(np.int64)
    return Moments(gram, cross)


def total(parts: Iterable[Moments]) -> Moments:
    """Return the sums over all parts' rows, of which there is at least one.

    Raises:
        ValueError: there are too many rows for 64 bits.
    """
    first, *rest = parts
    gram, cross = first.gram.copy(), first.cross.copy()
    for part in rest:
        gram += part.gram
        cross += part.cross
    whole = Moments(gram, cross)
    if sum(part.rows for part in [first, *rest]) > MOST_ROWS:
        raise ValueError(f"a ridge head takes at most {MOST_ROWS} rows")
    return whole


def solve(sums: Moments, penalty: float) -> NDArray[np.float64]:
    """Return (features + 1, outputs) weights, the intercept last: the least squared error plus penalty times their squares.

    Args:
        sums: over one row at least.
        penalty: on every weight but the intercept, > 0.

    Raises:
        ValueError: there is no row.
    """
    if sums.rows == 0:
        raise ValueError("without a row there is nothing to solve")
    scale = float(UNIT * UNIT)
    matrix = sums.gram.astype(np.float64) / scale
    matrix[np.arange(len(matrix) - 1), np.arange(len(matrix) - 1)] += penalty
    return _substituted(_factored(matrix), sums.cross.astype(np.float64) / scale)


def _factored(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return L, in place of the lower triangle, of a positive definite matrix L Lᵀ.

    Every element has the columns before it subtracted one after the other, first to last. Panels only choose when, so that
    a processor's cache holds what is worked on.
    """
    size = len(matrix)
    for start in range(0, size, PANEL):
        stop = min(start + PANEL, size)
        for column in range(start, stop):
            matrix[column, column] = np.sqrt(matrix[column, column])
            matrix[column + 1 :, column] /= matrix[column, column]
            _subtract(matrix, column, slice(column + 1, size), slice(column + 1, stop))
        for top in range(stop, size, PANEL):
            bottom = min(top + PANEL, size)
            for column in range(start, stop):
                _subtract(matrix, column, slice(top, bottom), slice(stop, bottom))
    return matrix


def _subtract(matrix: NDArray[np.float64], column: int, rows: slice, columns: slice) -> None:
    matrix[rows, columns] -= matrix[rows, column, None] * matrix[None, columns, column]


def _substituted(lower: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    for row in range(len(lower)):
        right[row] /= lower[row, row]
        right[row + 1 :] -= lower[row + 1 :, row, None] * right[row]
    for row in reversed(range(len(lower))):
        right[row] /= lower[row, row]
        right[:row] -= lower[row, :row, None] * right[row]
    return right
