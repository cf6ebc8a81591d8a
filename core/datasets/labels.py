"""Columns of words from a closed, declared list, as indices into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.texts import as_texts


def label_indices(
    column: NDArray[Any], labels: Sequence[str], flaws: Flaws, *, role: str = "labels"
) -> NDArray[np.int64]:
    """Return (n,) each row's label as its index in the schema; -1 and a flaw where it is none of them."""
    texts, _ = as_texts(column)  # what cannot be read is no label either
    index = {label: number for number, label in enumerate(labels)}
    found = np.array([index.get(text, -1) for text in texts], np.int64)
    flaws.at(role, found < 0, "unknown_label", "the label is none of the schema's")
    return found
