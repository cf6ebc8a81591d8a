"""Agreement: on the forget set, does the model say what models say that never saw it?

Each oracle votes, the majority's class is the expected answer, and an oracle is asked the same against the others. A
model that was taught random labels is wrong about the given labels, as it should be, and wrong here, as it should not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.verification.answers import Evidence
from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Margin
from core.verification.intervals import Array
from core.verification.policy import Axis
from core.verification.question import Question, classes_of
from core.verification.verdict import Ending

CARD = Card(
    name="agreement",
    asks="Does the model predict on the forget set what the oracles predict there?",
    needs=(Need.LOGITS, Need.ORACLES),
    formula="share of F whose likeliest class is the plurality of the other oracles; gap to the oracles' own share",
    paper="this project",
    weakness="Sees the likeliest class only; a model as unsure as the oracles but otherwise different agrees.",
    tier=Tier.T2,
)


def agreement_scores(candidate: Evidence, oracles: Sequence[Evidence]) -> tuple[Array, Array]:
    """Return (n,) and (K, n): 1.0 where a model says what the majority of (other) oracles says."""
    predicted = np.stack([np.argmax(classes_of(oracle.forget), axis=1) for oracle in oracles])  # (K, n)
    classes = classes_of(candidate.forget).shape[1]
    votes = np.stack([(predicted == label).sum(axis=0) for label in range(classes)])  # (classes, n)
    own = np.argmax(classes_of(candidate.forget), axis=1)
    agreeing = [(one == _plurality_without(votes, one)).astype(np.float64) for one in predicted]
    return (own == np.argmax(votes, axis=0)).astype(np.float64), np.stack(agreeing)


def _plurality_without(votes: Array, prediction: Array) -> Array:
    others = votes.copy()
    others[prediction, np.arange(votes.shape[1])] -= 1
    winner: Array = np.argmax(others, axis=0)
    return winner


QUESTION = Question(
    axis=Axis.AGREEMENT,
    card=CARD,
    scores=agreement_scores,
    margin=Margin.both,
    above=Ending.FAILED_OVER_FORGOT,
    below=Ending.FAILED_OVER_FORGOT,
)
