"""Effect: did any probability on the forget set move at all?

The first thing asked of a method, because a verifier that compares averages cannot tell a lucky model from an
untouched one, and published tools ship methods that change nothing.
"""

from __future__ import annotations

import numpy as np

from core.verification.answers import Answers, Evidence
from core.verification.card import Card, Need, Tier
from core.verification.equivalence import Outcome
from core.verification.policy import Axis
from core.verification.verdict import Ending, Finding

CARD = Card(
    name="effect",
    asks="Does the model answer differently from the original anywhere on the forget set?",
    needs=(Need.LOSSES, Need.ORIGINAL),
    formula="max over F and classes of |p_candidate - p_original| > smallest_effect; of a regressor, of predictions",
    paper="this project; faults seen in published code",
    weakness="A change of a single record's answer is enough to pass it.",
    tier=Tier.T0,
)


def ask_effect(candidate: Evidence, original: Evidence, smallest: float) -> Finding:
    """Return BELOW when no probability on the forget set moved by more than `smallest`."""
    moved = largest_change(candidate.forget, original.forget)
    if moved > smallest:
        return Finding(Axis.EFFECT, Outcome.INSIDE, None, value=moved)
    return Finding(Axis.EFFECT, Outcome.BELOW, Ending.NO_EFFECT, value=moved)


def largest_change(first: Answers, second: Answers) -> float:
    """Return the largest absolute change: of a probability, over all classes where both show them, or of a prediction."""
    if first.log_probabilities is not None and second.log_probabilities is not None:
        return float(np.abs(np.exp(first.log_probabilities) - np.exp(second.log_probabilities)).max())
    if first.predictions is not None and second.predictions is not None:
        return float(np.abs(first.predictions - second.predictions).max())
    return float(np.abs(first.confidence - second.confidence).max())
