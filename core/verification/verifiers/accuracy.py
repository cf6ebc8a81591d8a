"""Accuracy and confidence: is the given label still known on the forget set, and still right on everything else?

Accuracies are V1's three numbers (arXiv:2304.04934). Confidence is the probability of the given label, which moves
long before the likeliest class does; a class that a model knew anyway shows memory only there.
"""

from __future__ import annotations

from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Margin
from core.verification.policy import Axis
from core.verification.question import Question, each
from core.verification.verdict import Ending

ACCURACY = Card(
    name="accuracy",
    asks="Is the model as often right as the oracles are, on the forget set, the retained records and the test set?",
    needs=(Need.LOGITS, Need.ORACLES),
    formula="UA = 1 - A(F), RA = A(R), TA = A(test); gap = A(candidate) - mean over oracles A(oracle)",
    paper="arXiv:2304.04934",
    weakness="Blind where an oracle would be right too; a new head on old features passes it.",
    tier=Tier.T2,
)
CONFIDENCE = Card(
    name="confidence",
    asks="Does the model give the forgotten labels the probability that the oracles give them?",
    needs=(Need.LOSSES, Need.ORACLES),
    formula="mean over F (where there are no classes also R, test) of p(label), or exp(-loss); gap to the mean over oracles",
    paper="arXiv:2304.04934; equivalence after Schuirmann 1987",
    weakness="A mean: half the records remembered and half overshot can cancel. The rank test sees that.",
    tier=Tier.T2,
)
_NEEDS_LOGITS = "accuracy needs logits and labels"

FORGET_ACCURACY = Question(
    axis=Axis.FORGET_ACCURACY,
    card=ACCURACY,
    scores=each(lambda evidence: evidence.forget.correct, _NEEDS_LOGITS),
    margin=Margin.both,
    above=Ending.FAILED_UNDER_FORGOT,
    below=Ending.FAILED_OVER_FORGOT,
    shows_memory=True,
)
FORGET_CONFIDENCE = Question(
    axis=Axis.FORGET_CONFIDENCE,
    card=CONFIDENCE,
    scores=each(lambda evidence: evidence.forget.confidence, ""),
    margin=Margin.both,
    above=Ending.FAILED_UNDER_FORGOT,
    below=Ending.FAILED_OVER_FORGOT,
    shows_memory=True,
)
RETAIN_ACCURACY = Question(
    axis=Axis.RETAIN_ACCURACY,
    card=ACCURACY,
    scores=each(lambda evidence: evidence.retain.correct, _NEEDS_LOGITS),
    margin=Margin.not_below,
    above=Ending.UTILITY_LOST,
    below=Ending.UTILITY_LOST,
)
RETAIN_CONFIDENCE = Question(
    axis=Axis.RETAIN_CONFIDENCE,
    card=CONFIDENCE,
    scores=each(lambda evidence: evidence.retain.confidence, ""),
    margin=Margin.not_below,
    above=Ending.UTILITY_LOST,
    below=Ending.UTILITY_LOST,
)
TEST_CONFIDENCE = Question(
    axis=Axis.TEST_CONFIDENCE,
    card=CONFIDENCE,
    scores=each(lambda evidence: evidence.test.confidence, ""),
    margin=Margin.not_below,
    above=Ending.UTILITY_LOST,
    below=Ending.UTILITY_LOST,
)
TEST_ACCURACY = Question(
    axis=Axis.TEST_ACCURACY,
    card=ACCURACY,
    scores=each(lambda evidence: evidence.test.correct, _NEEDS_LOGITS),
    margin=Margin.not_below,
    above=Ending.UTILITY_LOST,
    below=Ending.UTILITY_LOST,
)
