"""Texts and their labels: as columns of an upload, as questions to a predictor, as bytes to digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.labels import label_indices
from core.datasets.text_schema import TextSchema
from core.datasets.texts import is_text
from core.domain.errors import BadInput

Arrays = dict[str, NDArray[Any]]
NAMES = {"texts", "labels"}


def check_columns(columns: Mapping[str, NDArray[Any]], flaws: Flaws) -> None:
    """Note what is wrong with the type of a whole column."""
    for role in ("texts", "labels"):
        if role in columns and not is_text(columns[role]):
            flaws.whole(role, "wrong_type", "the column must hold text")


def as_arrays(columns: Mapping[str, NDArray[Any]], schema: TextSchema, flaws: Flaws) -> Arrays:
    """Return `texts`, (n,) strings, and `labels`, (n,) int64."""
    texts = columns["texts"].astype(np.dtypes.StringDType())
    lengths = np.array([len(text) for text in texts])
    flaws.at("texts", np.array([not text.strip() for text in texts], bool), "missing_value", "the text is empty")
    detail = f"the text has more than {schema.most_characters} characters"
    flaws.at("texts", lengths > schema.most_characters, "too_long", detail)
    return {"texts": texts, "labels": label_indices(columns["labels"], schema.labels, flaws)}


def no_arrays() -> Arrays:
    """Return the arrays of no rows at all."""
    return {"texts": np.empty(0, np.dtypes.StringDType()), "labels": np.empty(0, np.int64)}


def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether these are arrays as `as_arrays` makes them."""
    texts, labels = arrays["texts"], arrays["labels"]
    return texts.dtype.kind == "T" and texts.ndim == labels.ndim == 1 and labels.dtype == np.int64


def row_content(text: str, label: int) -> bytes:
    """Return the bytes that stand for a record's content: "lethe text row" ‖ 0 ‖ label (8 bytes) ‖ the text in UTF-8."""
    return b"lethe text row\x00" + label.to_bytes(8, "little") + text.encode()


def read_questions(inputs: list[Any], schema: TextSchema) -> Arrays:
    """Return the arrays of what a predictor was asked about: `texts`.

    Raises:
        BadInput: an input is no text, or is longer than the contract allows; what it is is not repeated.
    """
    if not set(map(type, inputs)) <= {str}:
        raise BadInput("an input of this model is a text")
    if any(not text.strip() or len(text) > schema.most_characters for text in inputs):
        raise BadInput(f"a text is not empty, and has at most {schema.most_characters} characters")
    try:
        return {"texts": np.array(inputs, np.dtypes.StringDType())}
    except UnicodeEncodeError:
        raise BadInput("a text holds what is no character") from None
