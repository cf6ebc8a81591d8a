"""How far one model's scores are from the oracles': the interval that the judge places against a margin.

Every question to a model is a score in 0..1 per example, asked of the candidate and of all K oracles about the same
examples. Two things make the gap uncertain, and both are in the interval: oracles differ by their seeds (s²/K), and
other examples of the same kind would have given another mean (v/n). Pairing by example removes what makes examples hard
for every model. Half an imagined example each way (after Agresti and Min 2005) keeps n = 5 equal answers from looking certain.
"""

from __future__ import annotations

import math

import numpy as np

from core.verification.distributions import student_quantile
from core.verification.intervals import Array, Interval, checked_scores

FEWEST_ORACLES = 2


def gap_to_oracles(candidate: Array, oracles: Array, confidence: float) -> Interval:
    """Return the interval of the candidate's mean score minus the oracles' mean score.

    Args:
        candidate: (n,) scores of the model that is judged.
        oracles: (K, n) scores of models that never saw the forget set, for the same examples, K >= 2.
        confidence: of the two-sided interval; 1 - 2 alpha for a test at level alpha.

    Raises:
        ValueError: shapes do not fit, a score lies outside 0..1, or there are fewer than two oracles.
    """
    count, examples = oracles.shape
    if candidate.shape != (examples,) or count < FEWEST_ORACLES:
        raise ValueError(f"scores must be (n,) and (K, n) with K >= 2, got {candidate.shape} and {oracles.shape}")
    differences = checked_scores(candidate) - checked_scores(oracles).mean(axis=0)  # (n,)
    between_seeds = float(np.var(oracles.mean(axis=1), ddof=1)) / count
    half = student_quantile((1 + confidence) / 2, count - 1) * math.sqrt(between_seeds + _paired_error(differences))
    gap = float(differences.mean())
    return Interval(gap, gap - half, gap + half, confidence)


def gap_to_original(candidate: Array, original: Array, confidence: float) -> Interval:
    """Return the interval of the candidate's mean score minus the original's, for the same examples."""
    if candidate.shape != original.shape:
        raise ValueError(f"scores must be of the same examples, got {candidate.shape} and {original.shape}")
    differences = checked_scores(candidate) - checked_scores(original)
    # Half an example each way makes one more example in all, hence n + 1 - 1 degrees of freedom.
    half = student_quantile((1 + confidence) / 2, len(differences)) * math.sqrt(_paired_error(differences))
    gap = float(differences.mean())
    return Interval(gap, gap - half, gap + half, confidence)


def _paired_error(differences: Array) -> float:
    """Return the squared standard error of the mean of differences in -1..1, with half an example at each end."""
    total = len(differences) + 1
    mean = float(differences.sum()) / total
    variance = (float((differences**2).sum()) + 1) / total - mean**2
    return variance / total
