"""Representation: does a fresh head on the model's features bring the forgotten labels back?

An edit of the last layer alone can make every logit look right while all that was learned lies below it untouched. So
the judge fits a head of its own, ridge regression onto the given labels of retained and forgotten records, the two sets
weighing the same, and compares how many forgotten labels it recovers with how many it recovers from oracles' features.
It is the relearning attack's first step in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.verification.answers import Answers, Evidence, Integers, NotComparable
from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Margin
from core.verification.intervals import Array
from core.verification.policy import Axis
from core.verification.question import Question, each
from core.verification.verdict import Ending

CARD = Card(
    name="representation",
    asks="Can a fresh linear head recover more forgotten labels from these features than from the oracles'?",
    needs=(Need.FEATURES, Need.LOGITS, Need.ORACLES),
    formula="W = (X'DX + lambda I)^-1 X'DY on R and F, D giving both sets weight 1/2, lambda = 0.01; share of F "
    "whose label W recovers",
    paper="linear probes arXiv:1610.01644; relearning after arXiv:2402.16835",
    weakness="Linear, and of one layer only: what hides deeper or non-linearly is not seen.",
    tier=Tier.T2,
)
RIDGE = 0.01


def recovered_labels(evidence: Evidence) -> Array:
    """Return (n,) 1.0 where a fresh head on the model's features gives a forgotten record its label back.

    Raises:
        NotComparable: the answers have no features or no labels.
    """
    return _recovered(evidence.retain, [evidence.forget])[0]


def recovered_beside_holdout(evidence: Evidence) -> tuple[Array, Array]:
    """Return the same for forgotten and for held-out records, when the head is fitted on both alike.

    Without oracles this is the comparison: features that never saw either give either's labels back as often.

    Raises:
        NotComparable: the answers have no features, no labels or no held-out examples.
    """
    if evidence.holdout is None:
        raise NotComparable("there are no held-out examples")
    forget, holdout = _recovered(evidence.retain, [evidence.forget, evidence.holdout])
    return forget, holdout


def _recovered(retain: Answers, others: Sequence[Answers]) -> list[Array]:
    """Fit one head on all records, retained ones weighing as much as all others together, and ask it about those."""
    known = _features_of(retain)
    centre = known.mean(axis=0)
    scale = float(np.sqrt(((known - centre) ** 2).mean())) or 1.0  # one number: the shape of the space stays
    design = [_with_bias((_features_of(part) - centre) / scale) for part in (retain, *others)]
    labels = [_labels_of(part) for part in (retain, *others)]
    weights = [0.5 / len(retain), *[0.5 / sum(map(len, others))] * len(others)]  # one record
    classes = np.eye(1 + max(int(one.max()) for one in labels))
    gram = RIDGE * np.eye(design[0].shape[1])
    target = np.zeros((len(gram), len(classes)))
    for part, given, weight in zip(design, labels, weights, strict=True):
        gram += weight * part.T @ part
        target += weight * part.T @ classes[given]
    head = np.linalg.solve(gram, target)
    return [
        (np.argmax(part @ head, axis=1) == given).astype(np.float64)
        for part, given in zip(design[1:], labels[1:], strict=True)
    ]


def _features_of(answers: Answers) -> Array:
    if answers.features is None:
        raise NotComparable("the representation question needs features")
    return answers.features


def _labels_of(answers: Answers) -> Integers:
    if answers.labels is None:
        raise NotComparable("the representation question needs labels")
    return answers.labels


def _with_bias(features: Array) -> Array:
    return np.hstack([features, np.ones((len(features), 1))])


QUESTION = Question(
    axis=Axis.REPRESENTATION,
    card=CARD,
    scores=each(recovered_labels, ""),
    margin=Margin.both,
    above=Ending.FAILED_UNDER_FORGOT,
    below=Ending.FAILED_OVER_FORGOT,
    shows_memory=True,
)
