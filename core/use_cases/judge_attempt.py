"""Decide about one attempt: what the judge says of its answers, and whether that is enough for it to be served.

A method's result is accepted when the judge passes it and the drift budget bears it. A retrain is accepted for what it is:
it never saw the records, so it need not pass as if it might have; but its weights must have begun anew, its training must
be the model's whole history, and it must not be worse than the margins allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from core.domain.deletion import RequestKind
from core.domain.model import Guarantee
from core.unlearning.approximate.engine import Outcome
from core.use_cases.judge_candidate import drift
from core.use_cases.plan_method import MethodRun
from core.verification.answers import Evidence, NotComparable
from core.verification.card import Tier
from core.verification.equivalence import Outcome as Place
from core.verification.policy import Axis, Policy
from core.verification.request import RequestEvidence, ask_utility, judge_request
from core.verification.suppression import judge_suppression
from core.verification.verdict import Ending, Judgement
from core.verification.verifiers.integrity import check_completeness, check_weights

if TYPE_CHECKING:
    from core.use_cases.open_desk import Desk

PASSED = "passed"
RETRAINED = "retrained_without_the_records"
DRIFT = "the_drift_budget_is_spent"
NOT_PASSED = "the_judge_did_not_pass_it"
FAILED = "the_method_failed"
UTILITY = "it_is_worse_than_the_margins_allow"
WEIGHTS = "the_weights_are_not_what_the_method_says"
STAGED = "a_retrain_of_one_stage_is_no_retrain_of_all"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of an attempt."""

    accepted: bool
    why: str
    guarantee: Guarantee | None
    ending: Ending | None
    judgement: Judgement | None
    integrity: tuple[str, ...] = ()
    """What is wrong with the weights (T0)."""
    drift: float = 0.0
    failure: str | None = None

    @classmethod
    def failed(cls, code: str) -> Verdict:
        """Return the verdict on a method that left nothing that may be used."""
        return cls(accepted=False, why=FAILED, guarantee=None, ending=None, judgement=None, failure=code)

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "why_accepted_or_not": self.why,
            "ending": self.ending,
            "failure": self.failure,
            "drift": round(self.drift, 9),
            "integrity": list(self.integrity),
            "judgement": None if self.judgement is None else self.judgement.as_json(),
            "judgement_digest": None if self.judgement is None else self.judgement.digest(),
        }


def judge_attempt(run: MethodRun, desk: Desk, made: nn.Module, outcome: Outcome, *, retrained: bool) -> Verdict:
    """Return what the judge says of a network, and whether it may be served.

    Args:
        run: the request and the policy.
        desk: what was opened.
        made: the network that the method left.
        outcome: what the engine says of its run.
        retrained: whether it was trained afresh.
    """
    policy = run.judge.policy
    flaws = _integrity(desk, made, outcome, retrained=retrained)
    try:
        before, after, witness = _evidence(desk, made)
    except NotComparable as unfit:
        judgement = Judgement(Ending.NOT_COMPARABLE, Tier.T1, policy.digest(), 0, (), str(unfit))
        return _decided(run, judgement, flaws, 0.0, utility_lost=False, retrained=retrained)
    if run.request.kind == RequestKind.CONCEPT_SUPPRESSION:
        judgement = judge_suppression(after, before, policy)
    else:
        judgement = judge_request(
            RequestEvidence(
                after, before, witness, qualified=run.judge.qualification is not None, staged=run.recipe.staged
            ),
            policy,
        )
    return _decided(
        run,
        judgement,
        flaws,
        0.0 if retrained else drift(before, after),
        utility_lost=_is_worse(before, after, policy),
        retrained=retrained,
    )


def _evidence(desk: Desk, made: nn.Module) -> tuple[Evidence, Evidence, Evidence | None]:
    questions = desk.questions()
    before, after = questions.evidence(desk.opened.network), questions.evidence(made)
    return before, after, None if desk.witness is None else questions.evidence(desk.witness)


def _integrity(desk: Desk, made: nn.Module, outcome: Outcome, *, retrained: bool) -> tuple[str, ...]:
    before, after = (
        {name: one.detach().numpy() for name, one in network.named_parameters()}
        for network in (desk.opened.network, made)
    )
    trained = {name for name, one in desk.opened.network.named_parameters() if one.requires_grad}
    flaws = check_weights(
        {name: before[name] for name in trained}, {name: after[name] for name in trained}, begun_anew=retrained
    )
    frozen = {name: before[name] for name in before.keys() - trained}
    moved = any(one.tobytes() != after[name].tobytes() for name, one in frozen.items())
    complete = check_completeness(outcome.to_verify, desk.audited.references)
    return (*flaws, *complete, *(("mask_moved",) if moved else ()))


def _decided(  # noqa: PLR0913
    run: MethodRun,
    judgement: Judgement,
    flaws: tuple[str, ...],
    moved: float,
    *,
    utility_lost: bool,
    retrained: bool,
) -> Verdict:
    ending = judgement.ending
    accepted, why, guarantee = ending is Ending.PASSED, PASSED, Guarantee.JUDGED
    if not accepted:
        why = NOT_PASSED
    if accepted and run.checkpoint.drift + moved > run.policy.drift_budget:
        accepted, why = False, DRIFT
    if retrained:
        accepted, why, guarantee = not (run.recipe.staged or utility_lost), RETRAINED, Guarantee.RETRAINED
        if not accepted:
            why = STAGED if run.recipe.staged else UTILITY
    if flaws:
        accepted, why = False, WEIGHTS
    return Verdict(
        accepted=accepted,
        why=why,
        guarantee=guarantee if accepted else None,
        ending=ending,
        judgement=judgement,
        integrity=flaws,
        drift=moved,
    )


def _is_worse(before: Evidence, after: Evidence, policy: Policy) -> bool:
    """Whether a network is shown to be worse on test rows than the margins allow, whatever else may be said of it."""
    return any(
        finding.outcome is Place.BELOW and finding.axis in {Axis.TEST_ACCURACY, Axis.TEST_CONFIDENCE}
        for finding in ask_utility(after, before, policy)
    )
