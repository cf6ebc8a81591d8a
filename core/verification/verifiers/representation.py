"""Representation: does a fresh head on the model's features bring the forgotten labels back?

An edit of the last layer alone can make every logit look right while all that was learned lies below it untouched. So
the judge fits a head of its own, ridge regression onto the given labels of retained and forgotten records, the two sets
weighing the same, and compares how many forgotten labels it recovers with how many it recovers from oracles' features.
It is the relearning attack's first step in closed form.
"""

from __future__ import annotations

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
    retain, forget = _features_of(evidence.retain), _features_of(evidence.forget)
    centre = retain.mean(axis=0)
    scale = float(np.sqrt(((retain - centre) ** 2).mean())) or 1.0  # one number: the shape of the space stays
    design = [_with_bias((part - centre) / scale) for part in (retain, forget)]
    labels = [_labels_of(evidence.retain), _labels_of(evidence.forget)]
    classes = np.eye(1 + max(int(one.max()) for one in labels))
    gram = sum((0.5 / len(part)) * part.T @ part for part in design)
    target = sum((0.5 / len(part)) * part.T @ classes[one] for part, one in zip(design, labels, strict=True))
    head = np.linalg.solve(gram + RIDGE * np.eye(design[0].shape[1]), target)
    recovered: Array = (np.argmax(design[1] @ head, axis=1) == labels[1]).astype(np.float64)
    return recovered


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
