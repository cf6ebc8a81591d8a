"""What models answered, and the judge's own reading of it: log-probabilities, margins, confidences.

`Answers` is one model on one set of examples; `Evidence` is one model on all sets that are asked about. Classifiers
bring logits. A regressor brings its predictions, read in units of a stated error; a causal language model brings its mean
loss per token. exp(-loss) is then its confidence, and questions that need classes cannot be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.verification.intervals import Array

Integers = npt.NDArray[np.int64]
MARGIN_LIMIT = 100.0
"""Margins are clipped there, as KLoM does (arXiv:2410.23232); a loss of exactly 0 would have an infinite one."""


class NotComparable(ValueError):
    """The answers cannot be compared: not finite, of other shapes, or to other questions."""


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's answers to n examples."""

    confidence: Array
    """(n,) probability of the given label, in 0..1."""
    margin: Array
    """(n,) log(p / (1 - p)) of it, in nats, clipped."""
    log_probabilities: Array | None = None
    """(n, classes), or None when only losses were given."""
    labels: Integers | None = None
    """(n,) the given labels."""
    features: Array | None = None
    """(n, width) what the last layer stands on, when the model shows it."""
    predictions: Array | None = None
    """(n,) what a regressor says, in units of the error by which it is judged."""

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def predicted(self) -> Integers | None:
        """(n,) the likeliest class."""
        return None if self.log_probabilities is None else np.argmax(self.log_probabilities, axis=1)

    @property
    def correct(self) -> Array | None:
        """(n,) 1.0 where the likeliest class is the given label."""
        predicted = self.predicted
        return None if predicted is None or self.labels is None else (predicted == self.labels).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Evidence:
    """One model's answers to every set of examples."""

    forget: Answers
    """All that was asked to be forgotten: what a method left out of its own run is still judged."""
    retain: Answers
    test: Answers
    holdout: Answers | None = None
    """Examples like the forget set that no model saw."""

    @property
    def parts(self) -> tuple[Answers, ...]:
        return tuple(part for part in (self.forget, self.retain, self.test, self.holdout) if part is not None)


def answers_from_logits(logits: npt.ArrayLike, labels: npt.ArrayLike, features: npt.ArrayLike | None = None) -> Answers:
    """Read a classifier's answers.

    Args:
        logits: (n, classes), any real type.
        labels: (n,) the given labels, in 0..classes - 1.
        features: (n, width), or None.

    Raises:
        NotComparable: shapes do not fit, a label is no class, or something is not finite.
    """
    scores, classes = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if scores.ndim != 2 or not len(scores) or classes.shape != scores.shape[:1]:  # noqa: PLR2004 - examples x classes
        raise NotComparable(f"logits are (n, classes) and labels (n,), got {scores.shape} and {classes.shape}")
    if not np.isfinite(scores).all() or classes.min() < 0 or classes.max() >= scores.shape[1]:
        raise NotComparable("a logit is not finite, or a label is no class")
    log_probabilities = log_softmax(scores)
    given = np.arange(len(scores)), classes
    others = scores.copy()
    others[given] = -np.inf
    margin = np.clip(scores[given] - _log_sum_exp(others), -MARGIN_LIMIT, MARGIN_LIMIT)
    return Answers(
        confidence=np.exp(log_probabilities[given]),
        margin=margin,
        log_probabilities=log_probabilities,
        labels=classes,
        features=_checked_features(features, len(scores)),
    )


def answers_from_losses(losses: npt.ArrayLike, features: npt.ArrayLike | None = None) -> Answers:
    """Read the answers of a model that has one loss >= 0 per example, in nats.

    Raises:
        NotComparable: there is none, or one is negative or not finite.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or values.min() < 0:
        raise NotComparable("losses are (n,), finite and not negative")
    with np.errstate(divide="ignore", over="ignore"):
        margin = np.clip(-np.log(np.expm1(values)), -MARGIN_LIMIT, MARGIN_LIMIT)
    return Answers(np.exp(-values), margin, features=_checked_features(features, len(values)))


def answers_from_predictions(
    predictions: npt.ArrayLike, targets: npt.ArrayLike, *, scale: float, features: npt.ArrayLike | None = None
) -> Answers:
    """Read a regressor's answers: half the squared error in units of a scale is their loss.

    Args:
        predictions: (n,) what the model says.
        targets: (n,) the given values.
        scale: what error is usual, > 0; take the oracles' root mean square on test examples, which no candidate moves.
        features: (n, width), or None.

    Raises:
        NotComparable: shapes do not fit, or something is not finite.
        ValueError: the scale is not above 0.
    """
    said, wanted = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if not 0 < scale < np.inf:
        raise ValueError(f"a scale is above 0 and finite, got {scale}")
    if said.ndim != 1 or not said.size or said.shape != wanted.shape:
        raise NotComparable(f"predictions and targets are (n,), got {said.shape} and {wanted.shape}")
    if not (np.isfinite(said).all() and np.isfinite(wanted).all()):
        raise NotComparable("a prediction or a target is not finite")
    found = answers_from_losses(((said - wanted) / scale) ** 2 / 2, features)
    return replace(found, predictions=said / scale)


def log_softmax(logits: Array) -> Array:
    """Return (n, classes) log-probabilities, in nats."""
    normalised: Array = logits - _log_sum_exp(logits)[:, None]
    return normalised


def check_same_questions(first: Evidence, others: Sequence[Evidence]) -> None:
    """Raise NotComparable unless all models were asked about the same examples with the same labels."""
    for other in others:
        if [len(part) for part in other.parts] != [len(part) for part in first.parts]:
            raise NotComparable("models were asked about different numbers of examples")
        if any(not _same_labels(mine, theirs) for mine, theirs in zip(first.parts, other.parts, strict=True)):
            raise NotComparable("models were asked with different labels")


def _same_labels(first: Answers, second: Answers) -> bool:
    if first.labels is None or second.labels is None:
        return first.labels is second.labels
    return bool(np.array_equal(first.labels, second.labels))


def _log_sum_exp(values: Array) -> Array:
    top = values.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)  # a single class has no others
    with np.errstate(divide="ignore"):
        total: Array = top + np.log(np.exp(values - top[:, None]).sum(axis=1))
    return total


def _checked_features(features: npt.ArrayLike | None, count: int) -> Array | None:
    if features is None:
        return None
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) != count or not np.isfinite(values).all():  # noqa: PLR2004 - examples x width
        raise NotComparable("features are (n, width) and finite")
    return values
