"""What a model is asked to say about a row: one of declared labels, a number within a declared range, or its next token.

Both are declared with the data set. A list of the labels that occur, or the range that rows happen to fill, would be a
function of the rows, and a deletion could change what every other row means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Modality(StrEnum):
    """What kind of network a method works on: what a batch of it means."""

    CLASSIFIER = "classifier"
    REGRESSOR = "regressor"
    CAUSAL_LANGUAGE_MODEL = "causal_language_model"


class TaskName(StrEnum):
    """Decides the loss: cross-entropy for a classification and for tokens, the squared error for a regression."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    LANGUAGE = "language"


@dataclass(frozen=True)
class Classification:
    """Choose among labels; a label's index here is what the model predicts."""

    labels: tuple[str, ...]

    @property
    def name(self) -> TaskName:
        return TaskName.CLASSIFICATION

    @property
    def outputs(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Regression:
    """Say a number. The model sees the declared range as -1..1, so that no row decides how another is scaled."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.minimum, self.maximum))) or not self.minimum < self.maximum:
            raise ValueError("the target's minimum must be < its maximum, and both finite")

    @property
    def name(self) -> TaskName:
        return TaskName.REGRESSION

    @property
    def outputs(self) -> int:
        return 1


@dataclass(frozen=True)
class LanguageModelling:
    """Say which token comes next, at every token of a text."""

    @property
    def name(self) -> TaskName:
        return TaskName.LANGUAGE


Task = Classification | Regression | LanguageModelling
