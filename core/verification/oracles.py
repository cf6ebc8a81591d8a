"""The judge with oracles (T2): one model against K models that were really trained without the forget set.

Asked in turn: did anything change, does the model's gap to the oracles lie inside every margin of the policy, is it no
stranger than oracles are to each other, and does the *original* stand out, so that passing means anything at all?
"""

from __future__ import annotations

from collections.abc import Sequence

from core.verification.answers import Evidence, NotComparable, check_same_questions
from core.verification.card import Tier
from core.verification.catalogue import QUESTIONS
from core.verification.equivalence import Outcome
from core.verification.policy import Policy
from core.verification.verdict import Ending, Finding, Judgement, worst
from core.verification.verifiers.conformal_rank import ask_rank
from core.verification.verifiers.effect import ask_effect


def judge_against_oracles(
    candidate: Evidence,
    *,
    original: Evidence,
    oracles: Sequence[Evidence],
    policy: Policy,
    staged: bool = False,
) -> Judgement:
    """Decide whether a model is equivalent to the oracles within the policy's margins.

    Args:
        candidate: the model that is judged.
        original: the model before unlearning.
        oracles: K models trained without the forget set by the original's recipe.
        policy: margins and levels.
        staged: whether the model was trained in several stages; what a retrained model is, is then not defined.

    Returns:
        A judgement; nothing that a model answers makes this raise.
    """
    if staged:
        return _without_findings(Ending.STAGED_UNDEFINED, policy, len(oracles), "")
    if len(oracles) < policy.minimum_oracles:
        reason = f"the policy asks for {policy.minimum_oracles} oracles"
        return _without_findings(Ending.UNDERPOWERED, policy, len(oracles), reason)
    return judge_gaps(candidate, original=original, oracles=oracles, policy=policy)


def judge_gaps(
    candidate: Evidence, *, original: Evidence, oracles: Sequence[Evidence], policy: Policy, untouched: bool = False
) -> Judgement:
    """Decide as above with however many oracles there are: for qualification, which holds one of them out.

    `untouched` leaves out whether anything changed: the original must be refused for what it remembers.
    """
    try:
        check_same_questions(candidate, [original, *oracles])
        findings = [
            *([] if untouched else [ask_effect(candidate, original, policy.smallest_effect)]),
            *ask_questions(candidate, oracles, policy),
            ask_rank(candidate, oracles, policy.significance),
        ]
        telling = original_stands_out(original, oracles, policy)
    except NotComparable as unfit:
        return _without_findings(Ending.NOT_COMPARABLE, policy, len(oracles), str(unfit))
    endings = [finding.accuses for finding in findings]
    reason = "" if telling else "the original is not outside the margins either"
    return Judgement(
        ending=worst(endings if telling else [*endings, Ending.UNDERPOWERED]),
        tier=Tier.T2,
        policy_digest=policy.digest(),
        oracles=len(oracles),
        findings=tuple(findings),
        reason=reason,
    )


def ask_questions(candidate: Evidence, oracles: Sequence[Evidence], policy: Policy) -> list[Finding]:
    """Ask every question that the policy has a margin for."""
    return [
        QUESTIONS[axis].ask(candidate, oracles, width=width, confidence=policy.confidence)
        for axis, width in policy.oracle_margins.items()
    ]


def original_stands_out(original: Evidence, oracles: Sequence[Evidence], policy: Policy) -> bool:
    """Say whether the untouched original is shown to remember: without that, every model would pass."""
    return any(
        QUESTIONS[axis].ask(original, oracles, width=width, confidence=policy.confidence).outcome is Outcome.ABOVE
        for axis, width in policy.oracle_margins.items()
        if QUESTIONS[axis].shows_memory
    )


def _without_findings(ending: Ending, policy: Policy, oracles: int, reason: str) -> Judgement:
    return Judgement(ending, Tier.T2, policy.digest(), oracles, (), reason)
