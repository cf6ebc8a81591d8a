"""How good answers are, as one share: the accuracy of labels, of numbers R², and of words the likelihood per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, fsum
from statistics import fmean
from typing import Any

from core.domain.task import TaskName

WORDS = {TaskName.CLASSIFICATION: "accuracy", TaskName.REGRESSION: "R²", TaskName.LANGUAGE: "likelihood per token"}
"""What the share is called, by task."""


def score(task: TaskName, predictions: Sequence[Mapping[str, Any]], expected: Sequence[Any]) -> float:
    """Return the share of right labels; for numbers R²: 1 when all are exact, 0 for always saying the mean.

    For words it is the mean of each text's likelihood to the power of 1 over its tokens (arXiv:2401.06121).

    Raises:
        ValueError: there are not as many predictions as answers, or none.
    """
    pairs = list(zip(predictions, expected, strict=True))
    if not pairs:
        raise ValueError("there is nothing to score")
    if task is TaskName.CLASSIFICATION:
        return sum(bool(one["label"] == label) for one, label in pairs) / len(pairs)
    if task is TaskName.LANGUAGE:
        return fmean(exp(one["log_likelihood"] / max(1, one["tokens"])) for one, _ in pairs)
    mean = fmean(expected)
    spread = fsum((number - mean) ** 2 for number in expected)
    return 1.0 - fsum((one["value"] - number) ** 2 for one, number in pairs) / spread


def word_of(result: Mapping[str, Any]) -> str:
    """Return what a demo's outcome calls its share; outcomes of the first release do not say, and mean accuracy."""
    return WORDS[TaskName(result["data"].get("task", TaskName.CLASSIFICATION))]
