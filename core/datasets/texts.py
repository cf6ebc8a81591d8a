"""Columns as text: owners, record ids and labels may come as strings, bytes or numbers, and are compared as strings.

Integers are written in decimals. Floats are what table tools make of integers with gaps, so whole ones are written as
the integers they stand for and NaN is a gap; beyond the range in which a float type holds every integer, two different
values could have become one, so such a value is unreadable, as is a fraction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GAPS = frozenset({"", "nan", "NaN", "<NA>", "NaT", "None"})
"""How an empty cell is spelled by the tools that write tables, exactly; no other spelling counts as empty."""
_TEXT_KINDS = "SUTiuf"
_SURROGATES = (0xD800, 0xDFFF)
_LARGEST_CODE_POINT = 0x10FFFF


def is_text(column: NDArray[Any]) -> bool:
    """Return whether `as_texts` can read a column of this type at all."""
    return column.dtype.kind in _TEXT_KINDS


def as_texts(column: NDArray[Any]) -> tuple[list[str], NDArray[np.bool_]]:
    """Return a column's values as trimmed text, with "" for gaps.

    Args:
        column: (n,) strings, UTF-8 bytes, integers or floats.

    Returns:
        The n texts, and (n,) whether a value was unreadable; its text is "".

    Raises:
        TypeError: the column holds something else.
    """
    if not is_text(column):
        raise TypeError(f"a column of {column.dtype.name} holds no text")
    if column.dtype.kind in "iu":
        return list(map(str, column.tolist())), np.zeros(len(column), bool)
    if column.dtype.kind == "f":
        return _whole_floats(column)
    values, unreadable = _strings(column)
    trimmed = (value.strip() for value in values)
    return ["" if value in GAPS else value for value in trimmed], unreadable


def _whole_floats(column: NDArray[Any]) -> tuple[list[str], NDArray[np.bool_]]:
    gap = np.isnan(column)
    exact = 2.0 ** (np.finfo(column.dtype).nmant + 1)
    with np.errstate(invalid="ignore"):
        whole = (np.abs(column) < exact) & (np.trunc(column) == column)
    numbers = np.where(whole, column, 0).astype(np.int64).tolist()
    texts = [str(number) if keep else "" for number, keep in zip(numbers, whole.tolist(), strict=True)]
    return texts, ~(whole | gap)


def _strings(column: NDArray[Any]) -> tuple[list[str], NDArray[np.bool_]]:
    if column.dtype.kind == "S":
        return _decoded(column.tolist())
    if column.dtype.kind == "U" and column.dtype.itemsize:
        unreadable = _no_unicode(column)
        return np.where(unreadable, "", column).tolist(), unreadable
    return column.tolist(), np.zeros(len(column), bool)


def _decoded(values: list[bytes]) -> tuple[list[str], NDArray[np.bool_]]:
    texts = []
    unreadable = np.zeros(len(values), bool)
    for row, value in enumerate(values):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            texts.append("")
            unreadable[row] = True
    return texts, unreadable


def _no_unicode(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows hold numbers that are no characters; nothing but their sender kept them out of the array."""
    native = np.ascontiguousarray(column.astype(column.dtype.newbyteorder("=")))
    points = native.view(np.uint32).reshape(len(column), column.dtype.itemsize // 4)
    surrogate = (points >= _SURROGATES[0]) & (points <= _SURROGATES[1])
    return np.asarray((surrogate | (points > _LARGEST_CODE_POINT)).any(axis=1))
