"""Columns to rows: every way in which rows can break their schema, found in one pass and named by row and column.

Rows are counted from 0, as in the arrays. A flaw says where and what is wrong, never what was sent: a value may be a
person's identity. All rows are checked before anything is refused; the first hundred flaws are listed, all are counted.

Nothing here depends on other rows except that record ids must differ: how a row is kept follows from its own values
and the schema alone, so a deletion changes no other row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets import kinds
from core.datasets.flaws import MOST_LISTED, Flaws, Mask
from core.datasets.kinds import Arrays, Columns
from core.datasets.schema import Schema
from core.datasets.texts import as_texts, is_text
from core.domain.errors import Flaw

_OWN_SHAPE = frozenset({"images"})
"""Roles whose columns hold more than one value a row."""
_FLAGS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that keep their schema; n of them, in the order they were sent."""

    arrays: Arrays
    """What a model learns from, by name, with n rows each; see `core.datasets.kinds`."""
    owners: list[str]
    """Trimmed; "" on a public row that has none."""
    record_ids: list[str]
    """Trimmed, each once."""
    public: Mask
    """(n,) whether a backbone may be pre-trained on the row."""


def validate(columns: Columns, schema: Schema) -> Rows:
    """Return the rows that these columns make up.

    Args:
        columns: by role, as `readers.read_columns` returns them.
        schema: what they must look like.

    Raises:
        RowsRefused: something breaks the schema; its flaws say what, where, and how often.
    """
    flaws = Flaws(schema.columns())
    columns = {role: column for role, column in columns.items() if role in flaws.names}
    _check_columns(columns, schema, flaws)
    flaws.refuse_if_any()  # rows can be told apart only when every column has as many
    public = _flags(columns, flaws)
    rows = Rows(
        arrays=kinds.as_arrays(columns, schema, flaws),
        owners=_owners(columns["owners"], public, flaws),
        record_ids=_record_ids(columns["record_ids"], flaws),
        public=public,
    )
    flaws.refuse_if_any()
    return rows


def _check_columns(columns: Columns, schema: Schema, flaws: Flaws) -> None:
    for role in flaws.names.keys() - columns.keys():
        flaws.whole(role, "missing_column", "the column is missing")
    kinds.check_columns(columns, schema, flaws)
    for role, column in sorted(columns.items()):
        if role == "public" and not (column.dtype.kind == "b" or is_text(column)):
            flaws.whole(role, "wrong_type", "the column must hold true and false, or 1 and 0")
        elif role in ("owners", "record_ids") and not is_text(column):
            flaws.whole(role, "wrong_type", "the column must hold strings or integers")
        elif role not in _OWN_SHAPE and column.ndim != 1:
            written = "(" + ", ".join(map(str, column.shape)) + ")"
            flaws.whole(role, "wrong_shape", f"the shape must be (n), got {written}")
    _check_lengths(columns, flaws)


def _check_lengths(columns: Columns, flaws: Flaws) -> None:
    lengths = {role: len(column) for role, column in columns.items() if column.ndim}
    if not lengths:
        return
    reference = next(role for role in flaws.names if role in lengths)
    for role, length in sorted(lengths.items()):
        if length != lengths[reference]:
            names = flaws.names
            detail = f"the column has {length} rows and column {names[reference]} has {lengths[reference]}"
            flaws.whole(role, "length_mismatch", detail)
    if not lengths[reference]:
        flaws.whole(reference, "no_rows", "the column has no rows")


def _owners(column: NDArray[Any], public: Mask, flaws: Flaws) -> list[str]:
    owners, unreadable = as_texts(column)
    flaws.at("owners", unreadable, "unreadable_value", "the value is neither text nor an exact whole number")
    missing = np.array([not owner for owner in owners], bool) & ~unreadable & ~public
    flaws.at("owners", missing, "missing_owner", "a row that is not public must have an owner")
    return owners


def _record_ids(column: NDArray[Any], flaws: Flaws) -> list[str]:
    record_ids, unreadable = as_texts(column)
    flaws.at("record_ids", unreadable, "unreadable_value", "the value is neither text nor an exact whole number")
    missing = np.array([not record_id for record_id in record_ids], bool) & ~unreadable
    flaws.at("record_ids", missing, "missing_record_id", "every row must have a record id")
    for number, (row, first) in enumerate(_repeated(record_ids)):
        flaws.counts["duplicate_record_id"] += 1
        if number < MOST_LISTED:
            pointer = f"row {row}, column {flaws.names['record_ids']}"
            flaws.listed.append((row, Flaw(pointer, "duplicate_record_id", f"row {first} has the same record id")))
    return record_ids


def _repeated(record_ids: list[str]) -> Iterator[tuple[int, int]]:
    """Yield (row, the first row with the same id) for every row but the first of each id; gaps do not count."""
    first_rows: dict[str, int] = {}
    for row, record_id in enumerate(record_ids):
        first = first_rows.setdefault(record_id, row)
        if record_id and first != row:
            yield row, first


def _flags(columns: Columns, flaws: Flaws) -> Mask:
    if "public" not in columns:
        return np.zeros(len(columns["owners"]), bool)
    column = columns["public"]
    if column.dtype.kind == "b":
        return np.asarray(column)
    found = [_FLAGS.get(text) for text in as_texts(column)[0]]
    unclear = np.array([flag is None for flag in found], bool)
    flaws.at("public", unclear, "not_a_flag", "the value is neither true nor false")
    return np.array([bool(flag) for flag in found], bool)
