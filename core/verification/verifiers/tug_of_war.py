"""Tug of war: forgetting, keeping and generalising in one product (arXiv:2406.01257).

ToW = (1 - |A_u(F) - A_r(F)|) * (1 - |A_u(R) - A_r(R)|) * (1 - |A_u(T) - A_r(T)|),  1 is an oracle's behaviour
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.verification.answers import Answers, Evidence, NotComparable
from core.verification.card import Card, Need, Tier
from core.verification.intervals import Array, Interval, bootstrap

CARD = Card(
    name="tug_of_war",
    asks="How near to the oracles is the model in forgetting, keeping and generalising at once?",
    needs=(Need.LOGITS, Need.ORACLES),
    formula="product over F, R, test of 1 - |A(candidate) - mean A(oracle)|",
    paper="arXiv:2406.01257",
    weakness="Three accuracies only: it neither sees confidence nor privacy, and has no margin of its own.",
    tier=Tier.T2,
)


def tug_of_war(gaps: Sequence[float]) -> float:
    """Return the product of 1 - |gap| over gaps of accuracies in 0..1."""
    return float(np.prod([1 - abs(gap) for gap in gaps]))


def tug_of_war_interval(
    candidate: Evidence, oracles: Sequence[Evidence], *, confidence: float = 0.9, seed: int = 0
) -> Interval:
    """Return the product with an interval that resamples records and oracles.

    A product of distances is biased downwards by noise: even an oracle stays below 1. Compare with a held-out oracle's.
    """
    parts = [
        _correct([evidence.forget for evidence in (candidate, *oracles)]),
        _correct([evidence.retain for evidence in (candidate, *oracles)]),
        _correct([evidence.test for evidence in (candidate, *oracles)]),
    ]

    def statistic(forget: Array, retain: Array, test: Array, chosen: Array) -> float:
        means = [part.mean(axis=0) for part in (forget, retain, test)]  # each (1 + K,)
        return tug_of_war([float(mean[0] - mean[1:][chosen.astype(np.int64)].mean()) for mean in means])

    return bootstrap(statistic, [*parts, np.arange(len(oracles))], confidence=confidence, seed=seed)


def _correct(models: Sequence[Answers]) -> Array:
    """Return (n, 1 + K): which model is right about which example."""
    found = [one for one in (answers.correct for answers in models) if one is not None]
    if len(found) < len(models):
        raise NotComparable("the tug of war needs logits and labels")
    return np.stack(found, axis=1)
