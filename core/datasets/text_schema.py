"""The contract for a data set of texts: how long one may be, and the labels to tell them apart by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from core.datasets.contract import Contract, Kind, refuse_words
from core.domain.task import Classification

LONGEST_TEXT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TextSchema(Contract):
    """What the rows of a data set of texts must look like."""

    kind: ClassVar[Kind] = Kind.TEXT
    needs_public_rows: ClassVar[bool] = False

    labels: tuple[str, ...]
    """The words for the classes; a label's index here is what the model predicts."""
    most_characters: int = 20_000
    """A longer text is refused, never cut: what a model reads of it is the recipe's business."""
    texts_column: str = "texts"
    labels_column: str = "labels"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        refuse_words(self.labels, "labels")
        if isinstance(self.most_characters, bool) or not 1 <= self.most_characters <= LONGEST_TEXT:
            raise ValueError(f"most_characters must lie in 1..{LONGEST_TEXT}")
        super().__post_init__()

    @property
    def task(self) -> Classification:
        return Classification(self.labels)

    @property
    def content_columns(self) -> Mapping[str, str]:
        return {"texts": self.texts_column, "labels": self.labels_column}
