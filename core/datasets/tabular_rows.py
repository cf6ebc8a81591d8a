"""Rows of a table: as columns of an upload, as questions to a predictor, as bytes to digest.

Numbers are kept as they were sent, in the contract's own units, and categories as their index in it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.labels import label_indices
from core.datasets.numbers import numbers_within
from core.datasets.tabular_schema import TARGET, CategoricalColumn, LabelTarget, TabularSchema, feature_role
from core.datasets.texts import as_texts, is_text
from core.domain.errors import BadInput, RowsRefused

Arrays = dict[str, NDArray[Any]]
MISSING = -1
"""Stands for an empty cell among categories; among numbers NaN does."""
NAMES = ({"numbers", "categories", "labels"}, {"numbers", "categories", "values"})


def check_columns(columns: Mapping[str, NDArray[Any]], schema: TabularSchema, flaws: Flaws) -> None:
    """Note what is wrong with the type of a whole column."""
    for role in sorted(schema.content_columns.keys() & columns.keys()):
        if not is_text(columns[role]):
            flaws.whole(role, "wrong_type", "the column must hold text or numbers")


def as_arrays(columns: Mapping[str, NDArray[Any]], schema: TabularSchema, flaws: Flaws) -> Arrays:
    """Return `numbers` and `categories`, (n, columns of that sort) each, and the target: `labels` or `values`, (n,)."""
    column, target = columns[TARGET], schema.target
    if isinstance(target, LabelTarget):
        answers: Arrays = {"labels": label_indices(column, target.labels, flaws, role=TARGET)}
    else:
        span = {"minimum": target.minimum, "maximum": target.maximum}
        answers = {"values": numbers_within(column, **span, optional=False, role=TARGET, flaws=flaws)}
    return _features(columns, schema, flaws) | answers


def no_arrays(schema: TabularSchema) -> Arrays:
    """Return the arrays of no rows at all."""
    answers: Arrays = (
        {"labels": np.empty(0, np.int64)} if isinstance(schema.target, LabelTarget) else {"values": np.empty(0)}
    )
    empty: Arrays = {
        "numbers": np.empty((0, len(schema.numeric))),
        "categories": np.empty((0, len(schema.categorical)), np.int64),
    }
    return empty | answers


def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether these are arrays as `as_arrays` makes them."""
    numbers, categories = arrays["numbers"], arrays["categories"]
    tables = numbers.ndim == categories.ndim == 2 and numbers.dtype == np.float64 and categories.dtype == np.int64  # noqa: PLR2004
    target = arrays["labels"] if "labels" in arrays else arrays["values"]
    return tables and target.ndim == 1 and target.dtype == (np.int64 if "labels" in arrays else np.float64)


def row_content(arrays: Mapping[str, NDArray[Any]], row: int) -> bytes:
    """Return the bytes that stand for a record's content: equal exactly when every cell and the target are.

        "lethe table row" ‖ 0 ‖ "labels" or "values" ‖ 0 ‖ how many numbers, how many categories (4 bytes each)
        ‖ numbers, categories, target (8 bytes each)

    Everything is little-endian, in the order of the schema.
    """
    answer = "labels" if "labels" in arrays else "values"
    numbers, categories = arrays["numbers"][row], arrays["categories"][row]
    header = struct.pack("<II", len(numbers), len(categories))
    target: NDArray[Any] = arrays[answer][row : row + 1]
    cells = (
        numbers.astype("<f8").tobytes(),
        categories.astype("<i8").tobytes(),
        target.astype("<i8" if answer == "labels" else "<f8").tobytes(),
    )
    return b"".join((f"lethe table row\x00{answer}\x00".encode(), header, *cells))


def read_questions(inputs: list[Any], schema: TabularSchema) -> Arrays:
    """Return the arrays of what a predictor was asked about: `numbers` and `categories`.

    Raises:
        BadInput: an input is no object with the schema's columns, or a cell breaks the contract; flaws name them.
    """
    flaws = Flaws({feature_role(column): column.name for column in schema.features})
    known = {column.name for column in schema.features}
    for one in inputs:
        if not isinstance(one, dict):
            raise BadInput("an input of this model is an object with a value for every column")
        if not one.keys() <= known:
            raise BadInput("an input has a column that the data set's schema has not")
    columns = {feature_role(column): _asked(inputs, column.name) for column in schema.features}
    arrays = _features(columns, schema, flaws)
    try:
        flaws.refuse_if_any()
    except RowsRefused as refused:
        raise BadInput(refused.detail, flaws=refused.flaws) from None
    return arrays


def _asked(inputs: list[Any], name: str) -> NDArray[Any]:
    cells = [one.get(name) for one in inputs]
    if not set(map(type, cells)) <= {str, int, float, type(None)}:  # truth values, lists and objects
        raise BadInput("a value is neither a number nor text, nor null")
    return np.array(["" if cell is None else str(cell) for cell in cells], dtype=np.dtypes.StringDType())


def _features(columns: Mapping[str, NDArray[Any]], schema: TabularSchema, flaws: Flaws) -> Arrays:
    count = len(next(iter(columns.values())))
    numbers, categories = np.empty((count, len(schema.numeric))), np.empty((count, len(schema.categorical)), np.int64)
    for place, column in enumerate(schema.numeric):
        role = feature_role(column)
        span = {"minimum": column.minimum, "maximum": column.maximum}
        numbers[:, place] = numbers_within(columns[role], **span, optional=column.optional, role=role, flaws=flaws)
    for place, named in enumerate(schema.categorical):
        categories[:, place] = _codes(columns[feature_role(named)], named, flaws)
    return {"numbers": numbers, "categories": categories}


def _codes(cells: NDArray[Any], column: CategoricalColumn, flaws: Flaws) -> NDArray[np.int64]:
    role = feature_role(column)
    texts, unreadable = as_texts(cells)
    index = {word: number for number, word in enumerate(column.categories)}
    codes = np.array([index.get(text, MISSING) for text in texts], np.int64)
    empty = np.array([not text for text in texts], bool) & ~unreadable & (codes == MISSING)
    if not column.optional:
        flaws.at(role, empty, "missing_value", "the value is missing, and the column is not optional")
    flaws.at(role, (codes == MISSING) & ~empty, "unknown_category", "the value is none of the column's categories")
    return codes
