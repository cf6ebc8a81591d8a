"""Membership: would an attacker who sees the answers say that the forgotten records were trained on?

The judge asks without a threshold: how high does each forgotten record's confidence stand among the test records' of
the same model? On average that is the area under the attack's curve, and it is compared with the oracles'. Too low is a
fault too: records that stand out as *never seen* are recognisable as the ones that were erased.

The literature's attack learns on retained (members) and test records (non-members) to tell them apart by one number,
then is asked about the forget set. It fits a support vector machine on that one number; on a line it is a threshold, so
the threshold with the best balanced accuracy stands here. It is reported and decides nothing: where members hardly
differ the threshold is a matter of luck, and on the digits of our benchmark it sets true oracles tens of points apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from core.verification.answers import Answers, Evidence, NotComparable
from core.verification.card import Card, Need, Tier
from core.verification.distributions import normal_quantile
from core.verification.equivalence import Margin
from core.verification.intervals import Array, Interval
from core.verification.policy import Axis
from core.verification.question import Question, classes_of, each
from core.verification.verdict import Ending

CARD = Card(
    name="membership",
    asks="Do forgotten records stand as high among the test records, by confidence, as they do for the oracles?",
    needs=(Need.LOSSES, Need.ORACLES),
    formula="mean over F of the share of test records with lower max p, or lower exp(-loss) where there are no classes (ties half): the area under the curve; gap to "
    "the oracles. Reported beside it: share of F below the best threshold of R against test",
    paper="arXiv:2304.04934; modified entropy arXiv:2003.10595",
    weakness="A population attack: it overlooks the few records that are easiest to recognise.",
    tier=Tier.T2,
)


class Signal(StrEnum):
    """The number that an attack looks at; each is larger for what looks like a member."""

    CONFIDENCE = "confidence"
    LABEL_PROBABILITY = "label_probability"
    ENTROPY = "entropy"
    MODIFIED_ENTROPY = "modified_entropy"
    CORRECTNESS = "correctness"


def entropy(answers: Answers) -> Array:
    """Return (n,) the entropy of the predicted distribution, in nats."""
    logs = classes_of(answers)
    total: Array = -(np.exp(logs) * logs).sum(axis=1)
    return total


def modified_entropy(answers: Answers) -> Array:
    """Return (n,) -(1 - p_y) log p_y - sum over other classes p log(1 - p), in nats (arXiv:2003.10595)."""
    probabilities = np.exp(classes_of(answers))
    rows = np.arange(len(answers)), answers.labels
    log_others = np.log(np.maximum(1 - probabilities, np.finfo(np.float64).tiny))
    terms = probabilities * log_others
    terms[rows] = (1 - answers.confidence) * np.maximum(classes_of(answers)[rows], -1e3)
    total: Array = -terms.sum(axis=1)
    return total


def _correctness(answers: Answers) -> Array:
    classes_of(answers)
    right = answers.correct
    if right is None:
        raise NotComparable("correctness needs labels")
    return right


SIGNALS: Mapping[Signal, Callable[[Answers], Array]] = {
    Signal.CONFIDENCE: lambda answers: np.exp(classes_of(answers).max(axis=1)),
    Signal.LABEL_PROBABILITY: lambda answers: answers.confidence,
    Signal.ENTROPY: lambda answers: -entropy(answers),
    Signal.MODIFIED_ENTROPY: lambda answers: -modified_entropy(answers),
    Signal.CORRECTNESS: _correctness,
}


def best_threshold(members: Array, others: Array) -> float:
    """Return the value at and above which to say "member", for the best balanced accuracy; the lowest of equals."""
    values = np.unique(np.concatenate([members, others]))
    candidates = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    found = 1 - np.searchsorted(np.sort(members), candidates) / len(members)
    dismissed = np.searchsorted(np.sort(others), candidates) / len(others)
    return float(candidates[np.argmax(found + dismissed)])


def judged_non_member(evidence: Evidence, signal: Signal = Signal.CONFIDENCE) -> Array:
    """Return (n,) 1.0 where the attack says of a forgotten record that it was never trained on."""
    read = SIGNALS[signal]
    threshold = best_threshold(read(evidence.retain), read(evidence.test))
    return (read(evidence.forget) < threshold).astype(np.float64)


def standing_among_test(evidence: Evidence) -> Array:
    """Return (n,) for each forgotten record which share of the model's test records it was less sure of.

    Where there are no classes, by how sure it was of the given answer: the attack that goes by the loss.
    """
    if evidence.forget.log_probabilities is None:
        return _placements(evidence.forget.confidence, evidence.test.confidence)
    read = SIGNALS[Signal.CONFIDENCE]
    return _placements(read(evidence.forget), read(evidence.test))


def area_under_curve(members: Array, others: Array, confidence: float) -> Interval:
    """Return how well a number ranks members above others: 0.5 is chance, below 0.5 tells them apart as well.

    The variance is DeLong's (1988), after one imagined example was added at either end of both samples: without them
    three members above three others would be a certainty of 1.

    Args:
        members: (n,) the number for members.
        others: (m,) the number for non-members.
        confidence: of the two-sided interval.
    """
    ends = np.array([-np.inf, np.inf])
    padded_members, padded_others = np.concatenate([members, ends]), np.concatenate([others, ends])
    above, below = _placements(padded_members, padded_others), 1 - _placements(padded_others, padded_members)
    centre = float(above.mean())
    error = np.sqrt(np.var(above, ddof=1) / len(above) + np.var(below, ddof=1) / len(below))
    half = normal_quantile((1 + confidence) / 2) * float(error)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(float(_placements(members, others).mean()), low, high, confidence)


def _placements(values: Array, others: Array) -> Array:
    """Return (n,) for each value which share of the others lies below it, ties counted half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    share: Array = below / (2 * len(others))
    return share


QUESTION = Question(
    axis=Axis.MEMBERSHIP,
    card=CARD,
    scores=each(standing_among_test, ""),
    margin=Margin.both,
    above=Ending.FAILED_UNDER_FORGOT,
    below=Ending.FAILED_OVER_FORGOT,
)
