"""Columns of numbers, sent as numbers or as text: read as decimals are written, and as nothing else."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.texts import as_texts

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST = 64


def numbers_within(  # noqa: PLR0913 - a column, its range, and where to say what is wrong with it
    column: NDArray[Any], *, minimum: float, maximum: float, optional: bool, role: str, flaws: Flaws
) -> NDArray[np.float64]:
    """Return (n,) numbers, with NaN where an optional one is missing; cells that break the contract become flaws."""
    values, unreadable = _numbers(column)
    flaws.at(role, unreadable, "not_a_number", "the value is no finite number")
    missing = np.isnan(values) & ~unreadable
    if not optional:
        flaws.at(role, missing, "missing_value", "the value is missing, and the column is not optional")
    outside = ~missing & ~unreadable & ~((values >= minimum) & (values <= maximum))
    flaws.at(role, outside, "out_of_range", f"the value lies outside {minimum:g}..{maximum:g}")
    return values + 0.0  # minus zero and zero are one number


def _numbers(column: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers, NaN for gaps and for what is none, and which were none."""
    if column.dtype.kind in "iuf":
        values = column.astype(np.float64)
        return np.where(np.isinf(values), np.nan, values), np.isinf(values)
    texts, unreadable = as_texts(column)
    values = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if text and len(text) <= _LONGEST and _DECIMAL.fullmatch(text):
            values[row] = float(text)
        elif text:
            unreadable[row] = True
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values), unreadable | infinite
