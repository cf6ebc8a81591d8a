"""Intervals that stay honest for few examples: an estimate of 0 out of 5 is not a certainty of 0.

Proportions get exact (Clopper and Pearson 1934) or score (Wilson 1927) intervals. Means of scores in 0..1 get Student
intervals after an imagined example was added at either end of the scale, which is Agresti and Caffo's correction
(2000) carried over to scores: without it, five equal scores would have an interval of no width. Everything else is
resampled, from a seed that is part of the policy, so the same evidence always gives the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.verification.distributions import beta_quantile, normal_quantile, student_quantile

Array = npt.NDArray[np.float64]
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """What was measured, and where the truth lies with a stated confidence."""

    estimate: float
    low: float
    high: float
    confidence: float
    """Such as 0.90 for the interval whose two sides are each wrong in 5 % of cases."""

    def as_json(self) -> dict[str, float]:
        return {"estimate": self.estimate, "low": self.low, "high": self.high, "confidence": self.confidence}


def clopper_pearson(successes: int, total: int, confidence: float) -> Interval:
    """Return the exact interval of a proportion: it covers at least as often as it says, for any total.

    Raises:
        ValueError: there are fewer than 0 or more than `total` successes, or nothing was counted.
    """
    _check_count(successes, total)
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, successes, total - successes + 1) if successes else 0.0
    high = beta_quantile(1 - tail, successes + 1, total - successes) if successes < total else 1.0
    return Interval(successes / total, low, high, confidence)


def wilson(successes: int, total: int, confidence: float) -> Interval:
    """Return the score interval of a proportion: shorter than the exact one, and right on average."""
    _check_count(successes, total)
    z = normal_quantile((1 + confidence) / 2)
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), confidence)


def difference_of_means(first: Array, second: Array, confidence: float) -> Interval:
    """Return the interval of mean(first) - mean(second) for two independent samples of scores in 0..1 (Welch 1947).

    Args:
        first: (n,) scores.
        second: (m,) scores of other examples.
        confidence: of the two-sided interval.

    Raises:
        ValueError: a sample is empty or a score lies outside 0..1.
    """
    estimate = float(np.mean(checked_scores(first)) - np.mean(checked_scores(second)))
    padded = [np.concatenate([sample, [0.0, 1.0]]) for sample in (first, second)]
    errors = [float(np.var(sample, ddof=1)) / len(sample) for sample in padded]
    degrees = sum(errors) ** 2 / sum(error**2 / (len(sample) - 1) for error, sample in zip(errors, padded, strict=True))
    centre = float(np.mean(padded[0]) - np.mean(padded[1]))
    half = student_quantile((1 + confidence) / 2, degrees) * math.sqrt(sum(errors))
    return Interval(estimate, centre - half, centre + half, confidence)


def bootstrap(
    statistic: Callable[..., float],
    samples: Sequence[npt.NDArray[Any]],
    *,
    confidence: float,
    seed: int,
    draws: int = DRAWS,
) -> Interval:
    """Return the percentile interval of a statistic when each sample is drawn anew with replacement (Efron 1979).

    Args:
        statistic: takes as many arrays as there are samples.
        samples: each is resampled along its first axis, by itself.
        confidence: of the two-sided interval.
        seed: fixes the draws.
        draws: how many.

    Raises:
        ValueError: a sample is empty.
    """
    if not all(map(len, samples)):
        raise ValueError("an empty sample cannot be resampled")
    chance = np.random.default_rng(seed)
    drawn = [
        statistic(*(sample[chance.integers(0, len(sample), len(sample))] for sample in samples)) for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(*samples)), float(low), float(high), confidence)


def checked_scores(scores: Array) -> Array:
    """Return the scores, or raise ValueError when there are none or one lies outside 0..1."""
    if not scores.size or not bool(np.all((scores >= 0) & (scores <= 1))):
        raise ValueError("scores lie in 0..1, and there is at least one")
    return scores


def _check_count(successes: int, total: int) -> None:
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"a proportion counts 0..total of at least one, got {successes=}, {total=}")
