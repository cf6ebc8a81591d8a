"""The contract for a table: numeric columns with their ranges, columns of categories, and what is to be predicted.

Ranges and categories are declared, never collected: scaling by what rows happen to hold would move every row when the
largest one is deleted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from core.datasets.contract import MOST_LABELS, Contract, Kind, refuse_words
from core.domain.task import Classification, Regression

MOST_FEATURES = 512
LARGEST_NUMBER = 1e30
TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class NumericColumn:
    """A column of numbers within a range."""

    name: str
    minimum: float
    maximum: float
    optional: bool = False
    """Whether a cell may be empty; the model sees that it is."""

    def __post_init__(self) -> None:
        if not all(map(_is_number, (self.minimum, self.maximum))):
            raise ValueError("a numeric column's minimum and maximum must be finite numbers")
        if not -LARGEST_NUMBER <= self.minimum < self.maximum <= LARGEST_NUMBER:
            raise ValueError(f"a column's minimum must be < its maximum, both within {LARGEST_NUMBER:g} of zero")


@dataclass(frozen=True, kw_only=True)
class CategoricalColumn:
    """A column of words from a closed list."""

    name: str
    categories: tuple[str, ...]
    optional: bool = False
    """Whether a cell may be empty; the model sees that it is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))
        refuse_words(self.categories, "categories", fewest=1)


@dataclass(frozen=True, kw_only=True)
class LabelTarget:
    """One of these labels is to be predicted."""

    column: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        refuse_words(self.labels, "labels")


@dataclass(frozen=True, kw_only=True)
class NumberTarget:
    """A number within this range is to be predicted."""

    column: str
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not all(map(_is_number, (self.minimum, self.maximum))):
            raise ValueError("the target's minimum and maximum must be finite numbers")
        if not -LARGEST_NUMBER <= self.minimum < self.maximum <= LARGEST_NUMBER:
            raise ValueError(f"the target's minimum must be < its maximum, both within {LARGEST_NUMBER:g} of zero")


Column = NumericColumn | CategoricalColumn


@dataclass(frozen=True, kw_only=True)
class TabularSchema(Contract):
    """What the rows of a table must look like."""

    kind: ClassVar[Kind] = Kind.TABULAR
    needs_public_rows: ClassVar[bool] = False

    features: tuple[Column, ...]
    """What a model may look at, in order."""
    target: LabelTarget | NumberTarget

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        if not 1 <= len(self.features) <= MOST_FEATURES:
            raise ValueError(f"features must be 1 to {MOST_FEATURES} columns")
        if sum(len(column.categories) for column in self.categorical) > MOST_LABELS:
            raise ValueError(f"all columns together have at most {MOST_LABELS} categories")
        super().__post_init__()
        every = len(self.features) + 3 + (self.public_column is not None)
        if len(self.columns()) != every:
            raise ValueError("column names must differ and must not be empty")

    @property
    def task(self) -> Classification | Regression:
        target = self.target
        if isinstance(target, LabelTarget):
            return Classification(target.labels)
        return Regression(target.minimum, target.maximum)

    @property
    def numeric(self) -> list[NumericColumn]:
        return [column for column in self.features if isinstance(column, NumericColumn)]

    @property
    def categorical(self) -> list[CategoricalColumn]:
        return [column for column in self.features if isinstance(column, CategoricalColumn)]

    @property
    def content_columns(self) -> Mapping[str, str]:
        return {**{feature_role(column): column.name for column in self.features}, TARGET: self.target.column}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TabularSchema:
        """Read back what `as_json` wrote.

        Raises:
            TypeError, ValueError, KeyError: the value is no such schema.
        """
        target: Mapping[str, Any] = value["target"]
        return cls(
            **{name: part for name, part in value.items() if name not in ("kind", "features", "target")},
            features=_read_columns(value["features"]),
            target=LabelTarget(**target) if "labels" in target else NumberTarget(**target),
        )


def feature_role(column: Column) -> str:
    """Return the role of a column that a model may look at."""
    return f"feature {column.name}"


def _read_columns(values: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(CategoricalColumn(**one) if "categories" in one else NumericColumn(**one) for one in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
