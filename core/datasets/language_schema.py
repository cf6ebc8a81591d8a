"""The contract for a data set that a language model learns: texts, or prompts and what follows each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from core.datasets.contract import Contract, Kind
from core.datasets.text_schema import LONGEST_TEXT
from core.domain.task import LanguageModelling


@dataclass(frozen=True, kw_only=True)
class LanguageSchema(Contract):
    """What the rows of a data set for a language model must look like."""

    kind: ClassVar[Kind] = Kind.LANGUAGE
    needs_public_rows: ClassVar[bool] = False

    most_characters: int = 20_000
    """A longer text or prompt is refused, never cut: what a model reads of it is the recipe's business."""
    texts_column: str = "texts"
    """What is learned, token by token."""
    prompts_column: str | None = None
    """What stands before a text and is read but not learned; None: nothing does. A cell may be empty."""

    def __post_init__(self) -> None:
        if isinstance(self.most_characters, bool) or not 1 <= self.most_characters <= LONGEST_TEXT:
            raise ValueError(f"most_characters must lie in 1..{LONGEST_TEXT}")
        super().__post_init__()

    @property
    def task(self) -> LanguageModelling:
        return LanguageModelling()

    @property
    def content_columns(self) -> Mapping[str, str]:
        named = {"texts": self.texts_column}
        return named if self.prompts_column is None else {"prompts": self.prompts_column, **named}
