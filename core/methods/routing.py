"""Which methods are tried for a request, in which order, and why not the others: decided before anything runs.

    exact, if it can be had ─▶ the policy's methods, as far as they may be tried ─▶ a retrain, if the policy allows one

Every step and every omission has its reason in a word from a closed list, which the certificate repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.domain.deletion import RequestKind
from core.domain.errors import MethodNeedsUnmet
from core.domain.task import Modality
from core.methods.card import MethodCard, Need
from core.methods.menu import find
from core.methods.policy import RETRAIN, Choice, UnlearningPolicy


class Why(StrEnum):
    """The reason for a choice or an omission."""

    RANKED = "ranked_by_policy"
    ASKED_FOR = "asked_for_in_the_request"
    LAST_RESORT = "nothing_else_was_accepted"
    EXACT_UNREACHABLE = "exact_needs_training_in_slices"
    OTHER_KIND = "promises_another_kind_of_request"
    NEEDS_UNMET = "needs_what_the_model_does_not_offer"
    TOO_DEAR = "costs_more_than_the_policy_allows"
    RETRAIN_CHEAPER = "a_retrain_is_cheaper"
    DRIFT_SPENT = "the_drift_budget_is_spent"
    NOT_QUALIFIED = "no_judge_is_qualified"
    REFUSED_IN_QUALIFICATION = "refused_in_qualification"
    NO_TRAINING_KNOWN = "nobody_knows_how_it_was_trained"
    POLICY_FORBIDS = "the_policy_forbids_it"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that the router is told about a model and a request."""

    modality: Modality
    kind: RequestKind
    offered: frozenset[Need]
    artefacts: frozenset[str]
    forget: int
    """Rows."""
    retain: int
    training_epochs: int | None
    """None: nobody knows how the checkpoint was trained."""
    qualified: bool
    endings: Mapping[str, str] = field(default_factory=dict)
    """How each method's result on the planted canaries was judged."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Each method's latest cost on this model, as a share of a retrain."""
    drift: float = 0.0
    """Spent since the last retrain."""
    asked_for: Choice | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    choice: Choice
    why: Why
    cost_share: float | None
    """Estimated or measured, of a retrain; None where nobody knows what that costs."""

    def as_json(self) -> dict[str, Any]:
        share = None if self.cost_share is None else round(self.cost_share, 6)
        return {**self.choice.as_json(), "why": self.why, "cost_share": share}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be tried, in order, and what will not."""

    steps: tuple[Step, ...]
    omitted: tuple[tuple[str, Why], ...]
    policy: str
    """Digest of the policy."""

    def as_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "steps": [one.as_json() for one in self.steps],
            "omitted": [{"method": name, "why": why} for name, why in self.omitted],
        }


def route(policy: UnlearningPolicy, situation: Situation, retrain: Choice | None) -> Plan:
    """Plan a request.

    Args:
        policy: the model's.
        situation: the model and the request.
        retrain: how it would be trained again; None when nobody knows.
    """
    omitted: list[tuple[str, Why]] = [("exact", Why.EXACT_UNREACHABLE)]
    listed: Sequence[Choice] = policy.methods if situation.asked_for is None else (situation.asked_for,)
    may_retrain = retrain is not None and policy.retrain and situation.kind is RequestKind.DATA_DELETION
    steps = []
    for one in listed:
        if one.method == RETRAIN:
            continue
        against = _against(one, policy, situation, may_retrain=may_retrain)
        if against is None:
            why = Why.RANKED if situation.asked_for is None else Why.ASKED_FOR
            steps.append(Step(choice=one, why=why, cost_share=cost_share(find(one.method), one.settings, situation)))
        else:
            omitted.append((one.method, against))
    if may_retrain and retrain is not None:
        asked = situation.asked_for is not None and situation.asked_for.method == RETRAIN
        steps.append(Step(choice=retrain, why=Why.ASKED_FOR if asked else Why.LAST_RESORT, cost_share=1.0))
    else:
        omitted.append((RETRAIN, _why_no_retrain(retrain, situation)))
    return Plan(steps=tuple(steps), omitted=tuple(omitted), policy=policy.digest())


def _why_no_retrain(retrain: Choice | None, situation: Situation) -> Why:
    if situation.kind is not RequestKind.DATA_DELETION:
        return Why.OTHER_KIND
    return Why.NO_TRAINING_KNOWN if retrain is None else Why.POLICY_FORBIDS


def _against(one: Choice, policy: UnlearningPolicy, situation: Situation, *, may_retrain: bool) -> Why | None:
    """Return what speaks against a method, or None."""
    card = find(one.method)
    if card.kind is not situation.kind:
        return Why.OTHER_KIND
    try:
        card.check(situation.modality, offered=situation.offered, artefacts=situation.artefacts)
    except MethodNeedsUnmet:
        return Why.NEEDS_UNMET
    return _against_cost(card, one, policy, situation, may_retrain=may_retrain) or _against_trust(
        one, policy, situation, may_retrain=may_retrain
    )


def _against_cost(
    card: MethodCard, one: Choice, policy: UnlearningPolicy, situation: Situation, *, may_retrain: bool
) -> Why | None:
    share = cost_share(card, one.settings, situation)
    if share is None:
        return None
    if may_retrain and share >= 1:
        return Why.RETRAIN_CHEAPER
    return Why.TOO_DEAR if share > policy.most_cost else None


def _against_trust(one: Choice, policy: UnlearningPolicy, situation: Situation, *, may_retrain: bool) -> Why | None:
    if situation.kind is not RequestKind.DATA_DELETION:
        return None
    if may_retrain and situation.drift >= policy.drift_budget:
        return Why.DRIFT_SPENT
    if not situation.qualified:
        # Nothing could end passed: what is tried then is for a person to answer for.
        return Why.NOT_QUALIFIED if may_retrain and not policy.try_unqualified else None
    if situation.asked_for is not None:
        return None  # whoever names a method has it judged on the request itself
    ending = situation.endings.get(one.method)
    return Why.REFUSED_IN_QUALIFICATION if ending not in {None, "passed"} else None


def cost_share(card: MethodCard, settings: Mapping[str, Any], situation: Situation) -> float | None:
    """Return what a method costs as a share of a retrain: measured, or its epochs over the rows it goes through."""
    if card.name in situation.measured:
        return situation.measured[card.name]
    if situation.training_epochs is None or not situation.retain:
        return None
    rows = situation.forget * (Need.FORGET in card.needs) + situation.retain * (Need.RETAIN in card.needs)
    return float(settings.get("epochs", 1)) * rows / (situation.training_epochs * situation.retain)
