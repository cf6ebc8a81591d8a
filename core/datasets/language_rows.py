"""Prompts and texts of a language model: as columns of an upload, as questions to a predictor, as bytes to digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.language_schema import LanguageSchema
from core.datasets.texts import is_text
from core.domain.errors import BadInput

Arrays = dict[str, NDArray[Any]]
NAMES = {"prompts", "texts"}
MOST_NEW_TOKENS = 64
"""How far a predictor goes on with a prompt at most."""


def check_columns(columns: Mapping[str, NDArray[Any]], flaws: Flaws) -> None:
    """Note what is wrong with the type of a whole column."""
    for role in ("texts", "prompts"):
        if role in columns and not is_text(columns[role]):
            flaws.whole(role, "wrong_type", "the column must hold text")


def as_arrays(columns: Mapping[str, NDArray[Any]], schema: LanguageSchema, flaws: Flaws) -> Arrays:
    """Return `prompts` and `texts`, (n,) strings; a prompt may be empty."""
    texts = columns["texts"].astype(np.dtypes.StringDType())
    flaws.at("texts", np.array([not text.strip() for text in texts], bool), "missing_value", "the text is empty")
    prompts = columns.get("prompts", np.full(len(texts), "")).astype(np.dtypes.StringDType())
    for role, column in (("texts", texts), ("prompts", prompts)):
        too_long = np.array([len(text) > schema.most_characters for text in column], bool)
        if too_long.any():
            flaws.at(role, too_long, "too_long", f"the text has more than {schema.most_characters} characters")
    return {"prompts": prompts, "texts": texts}


def no_arrays() -> Arrays:
    """Return the arrays of no rows at all."""
    return {name: np.empty(0, np.dtypes.StringDType()) for name in sorted(NAMES)}


def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether these are arrays as `as_arrays` makes them."""
    return all(arrays[name].dtype.kind == "T" and arrays[name].ndim == 1 for name in NAMES)


def row_content(prompt: str, text: str) -> bytes:
    """Return the bytes that stand for a record's content: "lethe language row" ‖ 0 ‖ length of the prompt (8) ‖ both in UTF-8."""
    before = prompt.encode()
    return b"lethe language row\x00" + len(before).to_bytes(8, "little") + before + text.encode()


def read_questions(inputs: list[Any], schema: LanguageSchema) -> Arrays:
    """Return the arrays of what a predictor was asked about: `prompts`, `texts`, and `new_tokens`, (n,) int64.

    A question is a text, whose likelihood is wanted; or an object: `prompt` and `text`, or `prompt` and `new_tokens`.

    Raises:
        BadInput: an input is neither; what it is is not repeated.
    """
    asked = [_question(one) for one in inputs]
    longest = max(len(text) for prompt, text, _ in asked for text in (prompt, text))
    if longest > schema.most_characters:
        raise BadInput(f"a text has at most {schema.most_characters} characters")
    prompts, texts, new_tokens = zip(*asked, strict=True)
    try:
        strings = {
            name: np.array(column, np.dtypes.StringDType()) for name, column in (("prompts", prompts), ("texts", texts))
        }
    except UnicodeEncodeError:
        raise BadInput("a text holds what is no character") from None
    return {**strings, "new_tokens": np.array(new_tokens, np.int64)}


def _question(value: Any) -> tuple[str, str, int]:
    """Return prompt, text and how many tokens to add; of the last two one says nothing."""
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict) or not value.keys() <= {"prompt", "text", "new_tokens"}:
        raise BadInput("an input of this model is a text, or has a prompt and a text, or a prompt and new_tokens")
    prompt, text, more = value.get("prompt", ""), value.get("text", ""), value.get("new_tokens", 0)
    if not isinstance(prompt, str) or not isinstance(text, str):
        raise BadInput("a prompt and a text are strings")
    if "new_tokens" not in value:
        if not text.strip():
            raise BadInput("a text is not empty")
        return prompt, text, 0
    if "text" in value or isinstance(more, bool) or not isinstance(more, int) or not 1 <= more <= MOST_NEW_TOKENS:
        raise BadInput(f"new_tokens lies in 1..{MOST_NEW_TOKENS} and stands without a text")
    return prompt, "", more
