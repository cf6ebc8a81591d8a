"""The field's usual row: UA, RA, TA, membership, run time, and the average gap to retraining (arXiv:2304.04934).

Every number has an interval. The row ranks methods and decides nothing: the judge goes by margins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.verification.answers import Answers, Evidence, NotComparable
from core.verification.card import Card, Need, Tier
from core.verification.intervals import Array, Interval, bootstrap, clopper_pearson
from core.verification.verifiers.membership import Signal, judged_non_member

CARD = Card(
    name="average_gap",
    asks="How far is the model from retraining over four percentages, and what did it cost?",
    needs=(Need.LOGITS, Need.ORACLES),
    formula="mean of |UA_u - UA_r|, |RA_u - RA_r|, |TA_u - TA_r|, |MIA_u - MIA_r|; RTE = seconds / seconds to retrain",
    paper="arXiv:2304.04934; average gap arXiv:2310.12508",
    weakness="Faults of opposite kinds add up the same; differences of about 1 point are reproduction noise.",
    tier=Tier.T2,
)


@dataclass(frozen=True)
class StandardRow:
    """Shares in 0..1; multiply by 100 for the tables of the literature."""

    unlearning_accuracy: Interval
    retain_accuracy: Interval
    test_accuracy: Interval
    membership: Mapping[Signal, Interval]
    """The share of the forget set that each attack calls non-members. More is not better; the oracle's is."""
    average_gap: Interval


def run_time_share(seconds: Sequence[float], retrain_seconds: Sequence[float]) -> Interval:
    """Return RTE as a share of retraining, from runs that were timed; one run each has no interval but itself.

    Raises:
        ValueError: nothing was timed.
    """
    samples = [np.asarray(seconds, dtype=np.float64), np.asarray(retrain_seconds, dtype=np.float64)]
    return bootstrap(lambda mine, theirs: float(mine.mean() / theirs.mean()), samples, confidence=0.9, seed=0)


def average_gap(candidate: Sequence[float], oracle: Sequence[float]) -> float:
    """Return the mean absolute difference of two rows of the same numbers."""
    return float(np.mean([abs(mine - theirs) for mine, theirs in zip(candidate, oracle, strict=True)]))


def standard_row(
    candidate: Evidence,
    oracles: Sequence[Evidence],
    *,
    confidence: float = 0.9,
    seed: int = 0,
) -> StandardRow:
    """Measure the usual row of one model beside K oracles; the gap's interval resamples records and oracles.

    Raises:
        NotComparable: some answers have no logits.
    """
    right = _correct(candidate.forget)
    return StandardRow(
        unlearning_accuracy=_share(1 - right, confidence),
        retain_accuracy=_share(_correct(candidate.retain), confidence),
        test_accuracy=_share(_correct(candidate.test), confidence),
        membership={signal: _share(judged_non_member(candidate, signal), confidence) for signal in Signal},
        average_gap=_gap(candidate, oracles, confidence=confidence, seed=seed),
    )


def _gap(candidate: Evidence, oracles: Sequence[Evidence], *, confidence: float, seed: int) -> Interval:
    models = [candidate, *oracles]
    forget = np.stack([_pair(1 - _correct(model.forget), judged_non_member(model)) for model in models], axis=1)
    retain = np.stack([_correct(model.retain) for model in models], axis=1)
    test = np.stack([_correct(model.test) for model in models], axis=1)

    def statistic(on_forget: Array, on_retain: Array, on_test: Array, chosen: Array) -> float:
        unlearned, member = on_forget.mean(axis=0).T  # each (1 + K,)
        rows = np.stack([unlearned, on_retain.mean(axis=0), on_test.mean(axis=0), member])  # (4, 1 + K)
        return average_gap(list(rows[:, 0]), list(rows[:, 1:][:, chosen.astype(np.int64)].mean(axis=1)))

    return bootstrap(statistic, [forget, retain, test, np.arange(len(oracles))], confidence=confidence, seed=seed)


def _pair(first: Array, second: Array) -> Array:
    return np.stack([first, second], axis=-1)


def _correct(answers: Answers) -> Array:
    if answers.correct is None:
        raise NotComparable("the standard row needs logits and labels")
    return answers.correct


def _share(hits: Array, confidence: float) -> Interval:
    return clopper_pearson(int(hits.sum()), len(hits), confidence)
