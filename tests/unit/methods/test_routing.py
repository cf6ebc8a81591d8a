"""The router: what is tried, in which order, and a word for everything that is not; and the policy that it goes by."""

from __future__ import annotations

from typing import Any

import pytest

from core.domain.deletion import RequestKind
from core.domain.errors import PolicyRefused
from core.domain.task import Modality
from core.methods.card import Need
from core.methods.policy import Choice, UnlearningPolicy, choice, default_policy, policy_from_json
from core.methods.routing import Plan, Situation, Why, route

CLASSIFIER = Modality.CLASSIFIER
RETRAIN = Choice(method="retrain", settings={"epochs": 40})


def policy(**said: Any) -> UnlearningPolicy:
    methods = [{"method": "scrub"}, {"method": "fine_tune"}]
    return policy_from_json({"methods": methods} | said, CLASSIFIER)


def situation(**said: Any) -> Situation:
    given: dict[str, Any] = {
        "modality": CLASSIFIER,
        "kind": RequestKind.DATA_DELETION,
        "offered": frozenset(Need),
        "artefacts": frozenset(),
        "forget": 10,
        "retain": 990,
        "training_epochs": 40,
        "qualified": True,
        "endings": {"scrub": "passed", "fine_tune": "passed"},
    }
    return Situation(**given | said)


def words(plan: Plan) -> dict[str, Why]:
    return dict(plan.omitted)


def methods(plan: Plan) -> list[str]:
    return [step.choice.method for step in plan.steps]


def test_methods_go_in_the_policy_s_order_and_a_retrain_comes_last() -> None:
    plan = route(policy(), situation(), RETRAIN)
    assert methods(plan) == ["scrub", "fine_tune", "retrain"]
    assert [step.why for step in plan.steps] == [Why.RANKED, Why.RANKED, Why.LAST_RESORT]
    assert words(plan) == {"exact": Why.EXACT_UNREACHABLE}


def test_without_a_qualified_judge_a_retrain_follows_at_once_unless_there_is_none_or_the_policy_says_so() -> None:
    unqualified = situation(qualified=False, endings={})
    assert methods(route(policy(), unqualified, RETRAIN)) == ["retrain"]
    assert words(route(policy(), unqualified, RETRAIN))["scrub"] is Why.NOT_QUALIFIED
    assert methods(route(policy(), unqualified, None)) == ["scrub", "fine_tune"]
    assert methods(route(policy(try_unqualified=True), unqualified, RETRAIN)) == ["scrub", "fine_tune", "retrain"]


def test_what_was_refused_in_qualification_is_not_tried_unless_a_request_names_it() -> None:
    refused = situation(endings={"scrub": "failed_under_forgot", "fine_tune": "passed"})
    plan = route(policy(), refused, RETRAIN)
    assert (methods(plan), words(plan)["scrub"]) == (["fine_tune", "retrain"], Why.REFUSED_IN_QUALIFICATION)
    asked = situation(endings={"scrub": "failed_under_forgot"}, asked_for=choice({"method": "scrub"}))
    plan = route(policy(), asked, RETRAIN)
    assert [(step.choice.method, step.why) for step in plan.steps] == [
        ("scrub", Why.ASKED_FOR),
        ("retrain", Why.LAST_RESORT),
    ]


def test_a_method_that_costs_as_much_as_a_retrain_is_not_tried() -> None:
    dear = policy(methods=[{"method": "fine_tune", "settings": {"epochs": 50}}])
    assert words(route(dear, situation(), RETRAIN))["fine_tune"] is Why.RETRAIN_CHEAPER
    measured = situation(measured={"scrub": 3.0})
    assert words(route(policy(), measured, RETRAIN))["scrub"] is Why.RETRAIN_CHEAPER
    assert methods(route(dear, situation(), None)) == [], "and without a retrain it is dearer than the policy allows"
    assert words(route(policy(most_cost=0.01), situation(), None))["scrub"] is Why.TOO_DEAR


def test_a_spent_drift_budget_leaves_the_retrain() -> None:
    plan = route(policy(drift_budget=0.1), situation(drift=0.1), RETRAIN)
    assert (methods(plan), words(plan)["scrub"]) == (["retrain"], Why.DRIFT_SPENT)


def test_needs_and_kinds_leave_methods_out() -> None:
    lacking = situation(offered=frozenset({Need.FORGET}))
    assert words(route(policy(), lacking, None))["scrub"] is Why.NEEDS_UNMET
    concept = situation(kind=RequestKind.CONCEPT_SUPPRESSION)
    plan = route(policy(), concept, RETRAIN)
    assert methods(plan) == [], "a retrain suppresses no concept"
    assert words(plan)["scrub"] is Why.OTHER_KIND


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"methods": [{"method": "nop"}]}, "/methods/0/method"),
        ({"methods": [{"method": "scrub", "settings": {"epochs": 0}}]}, "/methods/0"),
        ({"methods": "scrub"}, "/methods"),
        ({"most_cost": -1}, "/most_cost"),
        ({"drift_budget": 2}, "/drift_budget"),
        ({"oracles": 3}, "/oracles"),
        ({"retrain": 1}, "/retrain"),
        ({"name": "A policy"}, "/name"),
        ({"version": 0}, "/version"),
        ({"verification": []}, "/verification"),
        ({"whim": 1}, ""),
    ],
)
def test_a_policy_that_holds_nonsense_is_refused_with_a_pointer(said: dict[str, Any], pointer: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        policy_from_json(said, CLASSIFIER)
    assert [flaw.pointer for flaw in refused.value.flaws] == [pointer]


@pytest.mark.parametrize("modality", Modality)
def test_the_default_policy_reads_back_as_it_was_written(modality: Modality) -> None:
    default = default_policy(modality)
    again = policy_from_json(default.as_json(), modality)
    assert [one.method for one in again.methods] == [one.method for one in default.methods]
    assert policy_from_json(again.as_json(), modality).digest() == again.digest()
