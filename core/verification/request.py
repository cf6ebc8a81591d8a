"""The judge without oracles (T1): what every single request gets, after recipe and model were qualified.

    did anything change? ─▶ are F and H of one kind? ─▶ are F and H treated alike? ─▶ is the rest as good as before?

The forget set F is compared with held-out examples H, the retained and test records with the original's answers. A
forget set on which the original already passes ends UNDERPOWERED: then nobody could see what was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.verification.answers import Evidence, NotComparable, check_same_questions
from core.verification.card import Tier
from core.verification.equivalence import Margin, Outcome
from core.verification.gaps import gap_to_original
from core.verification.intervals import Array
from core.verification.policy import Axis, Policy
from core.verification.verdict import Ending, Finding, Judgement, placed, worst
from core.verification.verifiers.effect import ask_effect
from core.verification.verifiers.holdout import ask_comparability, ask_confidence, ask_membership, ask_representation


@dataclass(frozen=True, eq=False)
class RequestEvidence:
    """What a request is judged on."""

    candidate: Evidence
    original: Evidence
    saw_neither: Evidence | None
    """A model that saw neither forget set nor held-out examples, to test that both are of one kind."""
    qualified: bool
    """Whether the judge was qualified for this recipe on this model."""
    staged: bool = False


def judge_request(evidence: RequestEvidence, policy: Policy) -> Judgement:
    """Decide one request by held-out examples and the original.

    Returns:
        A judgement; nothing that a model answers makes this raise.
    """
    if evidence.staged:
        return _without_findings(Ending.STAGED_UNDEFINED, policy, "")
    if not evidence.qualified:
        return _without_findings(Ending.UNDERPOWERED, policy, "the judge is not qualified for this recipe and model")
    try:
        check_same_questions(evidence.candidate, [evidence.original])
        findings = _ask_all(evidence, policy)
        telling = any(finding.outcome is Outcome.ABOVE for finding in _ask_memory(evidence.original, policy))
    except NotComparable as unfit:
        return _without_findings(Ending.NOT_COMPARABLE, policy, str(unfit))
    endings = [finding.accuses for finding in findings]
    return Judgement(
        ending=worst(endings if telling else [*endings, Ending.UNDERPOWERED]),
        tier=Tier.T1,
        policy_digest=policy.digest(),
        oracles=0,
        findings=tuple(findings),
        reason="" if telling else "the original is not outside the margins either",
    )


def _ask_all(evidence: RequestEvidence, policy: Policy) -> list[Finding]:
    findings = [ask_effect(evidence.candidate, evidence.original, policy.smallest_effect)]
    if Axis.COMPARABILITY in policy.request_margins:
        if evidence.saw_neither is None:
            raise NotComparable("there is no model that saw neither forget set nor held-out examples")
        width = policy.request_margins[Axis.COMPARABILITY]
        findings.append(ask_comparability(evidence.saw_neither, width, policy.confidence))
    return [
        *findings,
        *_ask_memory(evidence.candidate, policy),
        *ask_utility(evidence.candidate, evidence.original, policy),
    ]


def _ask_memory(model: Evidence, policy: Policy) -> list[Finding]:
    asks = {
        Axis.FORGET_CONFIDENCE: ask_confidence,
        Axis.MEMBERSHIP: ask_membership,
        Axis.REPRESENTATION: ask_representation,
    }
    margins = policy.request_margins
    return [ask(model, margins[axis], policy.confidence) for axis, ask in asks.items() if axis in margins]


def ask_utility(candidate: Evidence, original: Evidence, policy: Policy) -> list[Finding]:
    """Return whether a model is no worse than the original on what it was to keep, where the policy asks.

    Raises:
        NotComparable: it asks for accuracy, and there are no classes.
    """
    parts = {
        Axis.RETAIN_ACCURACY: (candidate.retain.correct, original.retain.correct),
        Axis.TEST_ACCURACY: (candidate.test.correct, original.test.correct),
        Axis.RETAIN_CONFIDENCE: (candidate.retain.confidence, original.retain.confidence),
        Axis.TEST_CONFIDENCE: (candidate.test.confidence, original.test.confidence),
    }
    return [
        _no_worse(axis, pair, policy.request_margins[axis], policy.confidence)
        for axis, pair in parts.items()
        if axis in policy.request_margins
    ]


def _no_worse(axis: Axis, pair: tuple[Array | None, Array | None], width: float, confidence: float) -> Finding:
    candidate, original = pair
    if candidate is None or original is None:
        raise NotComparable("accuracy needs logits and labels")
    interval = gap_to_original(candidate, original, confidence)
    lost = Ending.UTILITY_LOST
    return placed(axis, interval, Margin.not_below(width), above=lost, below=lost)


def _without_findings(ending: Ending, policy: Policy, reason: str) -> Judgement:
    return Judgement(ending, Tier.T1, policy.digest(), 0, (), reason)
