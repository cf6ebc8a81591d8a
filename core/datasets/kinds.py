"""What differs from kind to kind about rows, behind names that do not: here the kinds are told apart, and nowhere else.

    columns ──check_columns, as_arrays──▶ named arrays, n rows each ──row_content──▶ bytes to digest

Arrays have the rows as their first axis; besides that, only the kind's own file knows what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from core.datasets import image_rows, language_rows, tabular_rows, text_rows
from core.datasets.flaws import Flaws
from core.datasets.image_schema import ImageSchema
from core.datasets.schema import LanguageSchema, Schema, TextSchema

Columns = Mapping[str, NDArray[Any]]
Arrays = dict[str, NDArray[Any]]


def check_columns(columns: Columns, schema: Schema, flaws: Flaws) -> None:
    """Note what is wrong with the type or shape of a column that a model learns from."""
    if isinstance(schema, ImageSchema):
        image_rows.check_columns(columns, schema, flaws)
    elif isinstance(schema, TextSchema):
        text_rows.check_columns(columns, flaws)
    elif isinstance(schema, LanguageSchema):
        language_rows.check_columns(columns, flaws)
    else:
        tabular_rows.check_columns(columns, schema, flaws)


def as_arrays(columns: Columns, schema: Schema, flaws: Flaws) -> Arrays:
    """Return the rows as they are kept, noting every cell that breaks the schema."""
    if isinstance(schema, ImageSchema):
        return image_rows.as_arrays(columns, schema, flaws)
    if isinstance(schema, TextSchema):
        return text_rows.as_arrays(columns, schema, flaws)
    if isinstance(schema, LanguageSchema):
        return language_rows.as_arrays(columns, schema, flaws)
    return tabular_rows.as_arrays(columns, schema, flaws)


def no_arrays(schema: Schema) -> Arrays:
    """Return the arrays of no rows at all."""
    if isinstance(schema, TextSchema):
        return text_rows.no_arrays()
    if isinstance(schema, LanguageSchema):
        return language_rows.no_arrays()
    return image_rows.no_arrays(schema) if isinstance(schema, ImageSchema) else tabular_rows.no_arrays(schema)


def read_questions(inputs: list[Any], schema: Schema) -> Arrays:
    """Return the arrays of what a predictor was asked about; targets are not among them.

    Raises:
        BadInput: the inputs do not keep the schema; what they are is not repeated.
    """
    if isinstance(schema, ImageSchema):
        return image_rows.read_questions(inputs, schema)
    if isinstance(schema, TextSchema):
        return text_rows.read_questions(inputs, schema)
    if isinstance(schema, LanguageSchema):
        return language_rows.read_questions(inputs, schema)
    return tabular_rows.read_questions(inputs, schema)


def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether arrays are those of some kind's rows."""
    if arrays.keys() == image_rows.NAMES:
        return image_rows.fits(arrays)
    if arrays.keys() == text_rows.NAMES:
        return text_rows.fits(arrays)
    if arrays.keys() == language_rows.NAMES:
        return language_rows.fits(arrays)
    return arrays.keys() in tabular_rows.NAMES and tabular_rows.fits(arrays)


def row_content(arrays: Mapping[str, NDArray[Any]], row: int) -> bytes:
    """Return the bytes that stand for one record's content: equal exactly when the contents are."""
    if arrays.keys() == image_rows.NAMES:
        return image_rows.row_content(arrays["images"][row], int(arrays["labels"][row]))
    if arrays.keys() == text_rows.NAMES:
        return text_rows.row_content(str(arrays["texts"][row]), int(arrays["labels"][row]))
    if arrays.keys() == language_rows.NAMES:
        return language_rows.row_content(str(arrays["prompts"][row]), str(arrays["texts"][row]))
    return tabular_rows.row_content(arrays, row)
