"""The judge of concept suppression: is the behaviour weaker on the concept's own examples, and the rest as good as before?

The target is not a model that never saw something: it is that a behaviour is gone. So there is no oracle to be equivalent
to, and nothing here says that anything was forgotten. The concept's examples are held against the original's answers: the
confidence in what the concept's data says must have fallen by at least the stated share of what it was.
"""

from __future__ import annotations

from core.verification.answers import Evidence, NotComparable, check_same_questions
from core.verification.card import Tier
from core.verification.equivalence import Margin
from core.verification.gaps import gap_to_original
from core.verification.policy import Axis, Policy
from core.verification.request import ask_utility
from core.verification.verdict import Ending, Finding, Judgement, placed, worst
from core.verification.verifiers.effect import ask_effect

LEAST_FALL = 0.5
"""Share of the original's mean confidence by which the candidate's must be lower, with its whole interval."""


def judge_suppression(candidate: Evidence, original: Evidence, policy: Policy) -> Judgement:
    """Decide one request to suppress a concept.

    Returns:
        A judgement; nothing that a model answers makes this raise.
    """
    try:
        check_same_questions(candidate, [original])
        findings = [
            ask_effect(candidate, original, policy.smallest_effect),
            ask_fall(candidate, original, policy.confidence),
            *ask_utility(candidate, original, policy),
        ]
    except NotComparable as unfit:
        return Judgement(Ending.NOT_COMPARABLE, Tier.T1, policy.digest(), 0, (), str(unfit))
    ending = worst([finding.accuses for finding in findings])
    return Judgement(ending, Tier.T1, policy.digest(), 0, tuple(findings))


def ask_fall(candidate: Evidence, original: Evidence, confidence: float) -> Finding:
    """Return whether the confidence in the concept's examples fell far enough."""
    before = float(original.forget.confidence.mean())
    interval = gap_to_original(candidate.forget.confidence, original.forget.confidence, confidence)
    wanted = Margin(low=None, high=-LEAST_FALL * before)
    under = Ending.FAILED_UNDER_FORGOT
    return placed(Axis.FORGET_CONFIDENCE, interval, wanted, above=under, below=under)
