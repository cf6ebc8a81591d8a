"""Agreement: on the forget set, does the model say what models say that never saw it?

Each oracle votes, the majority's class is the expected answer, and an oracle is asked the same against the others. A
model that was taught random labels is wrong about the given labels, as it should be, and wrong here, as it should not.
A regressor agrees by how near it comes to what the (other) oracles say on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.verification.answers import Evidence, NotComparable
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
    formula="share of F whose likeliest class is the plurality of the other oracles; of a regressor, mean over F of "
    "exp(-d^2 / 2), d the distance from the other oracles' mean in the scale's units; gap to the oracles' own",
    paper="this project",
    weakness="Sees the likeliest class only; a model as unsure as the oracles but otherwise different agrees.",
    tier=Tier.T2,
)


def agreement_scores(candidate: Evidence, oracles: Sequence[Evidence]) -> tuple[Array, Array]:
    """Return (n,) and (K, n): 1.0 where a model says what the majority of (other) oracles says; for a regressor, how nearly."""
    if candidate.forget.predictions is not None:
        return _nearness(candidate, oracles)
    predicted = np.stack([np.argmax(classes_of(oracle.forget), axis=1) for oracle in oracles])  # (K, n)
    classes = classes_of(candidate.forget).shape[1]
    votes = np.stack([(predicted == label).sum(axis=0) for label in range(classes)])  # (classes, n)
    own = np.argmax(classes_of(candidate.forget), axis=1)
    agreeing = [(one == _plurality_without(votes, one)).astype(np.float64) for one in predicted]
    return (own == np.argmax(votes, axis=0)).astype(np.float64), np.stack(agreeing)


def _nearness(candidate: Evidence, oracles: Sequence[Evidence]) -> tuple[Array, Array]:
    """Return the same for regressors: exp(-d^2 / 2) of the distance from the mean of the (other) oracles."""
    found = [one for one in (oracle.forget.predictions for oracle in oracles) if one is not None]
    if candidate.forget.predictions is None or len(found) < len(oracles):
        raise NotComparable("agreement needs everybody's predictions")
    said = np.stack(found)  # (K, n)
    others = (said.sum(axis=0) - said) / (len(said) - 1)
    own = np.exp(-((candidate.forget.predictions - said.mean(axis=0)) ** 2) / 2)
    return own, np.exp(-((said - others) ** 2) / 2)


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
