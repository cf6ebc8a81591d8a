"""Both judges on synthetic models whose memory is known: rates by simulation, and every ending reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.verification.answers import Evidence, answers_from_logits, answers_from_losses
from core.verification.card import Tier
from core.verification.equivalence import Outcome
from core.verification.oracles import judge_against_oracles
from core.verification.policy import CLASSIFIER, Axis
from core.verification.request import RequestEvidence, judge_request
from core.verification.verdict import Ending, Judgement
from tests.unit.verification.synthetic import World

TRIALS = 60


def judged(world: World, candidate: Evidence, **changes: Any) -> Judgement:
    return judge_against_oracles(
        candidate,
        original=world.evidence(90, memory=1.0),
        oracles=[world.evidence(seed) for seed in range(1, 20)],
        policy=replace(CLASSIFIER, **changes),
    )


def asked(world: World, candidate: Evidence, **changes: Any) -> Judgement:
    evidence = RequestEvidence(
        candidate=candidate,
        original=world.evidence(90, memory=1.0),
        saw_neither=world.evidence(91),
        qualified=True,
    )
    return judge_request(replace(evidence, **changes), CLASSIFIER)


def test_held_out_oracles_pass_at_the_stated_rate() -> None:
    """The rank refuses one in twenty by design; nothing else may add to that."""
    endings = [judged(World(seed), World(seed).evidence(50)).ending for seed in range(TRIALS)]
    passed = endings.count(Ending.PASSED) / TRIALS
    assert passed >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    assert passed >= CLASSIFIER.held_out_pass_rate


@pytest.mark.parametrize(
    ("memory", "loss", "ending"),
    [
        (1.0, 0.0, Ending.FAILED_UNDER_FORGOT),
        (0.6, 0.0, Ending.FAILED_UNDER_FORGOT),
        (0.0, 0.4, Ending.UTILITY_LOST),
    ],
)
def test_wrecks_are_refused_for_what_is_wrong_with_them(memory: float, loss: float, ending: Ending) -> None:
    for seed in range(12):
        assert judged(World(seed), World(seed).evidence(50, memory=memory, loss=loss)).ending is ending


def test_labels_that_are_shunned_stand_out_by_rank_alone() -> None:
    """Their accuracy and probability are 0, as an oracle's nearly are: only the comparison record by record sees it."""
    endings = []
    for seed in range(12):
        outcome = judged(World(seed), World(seed).evidence(50, memory=-1.0))
        assert not outcome.passed
        assert outcome.finding(Axis.RANK).outcome is Outcome.BELOW
        assert outcome.finding(Axis.FORGET_CONFIDENCE).outcome is Outcome.INSIDE
        endings.append(outcome.ending)
    assert endings.count(Ending.FAILED_OVER_FORGOT) >= 10


@pytest.mark.parametrize("memory", [0.4, 0.8])
def test_more_memory_never_helps(memory: float) -> None:
    for seed in range(12):
        assert not judged(World(seed), World(seed).evidence(50, memory=memory)).passed


def test_an_untouched_model_has_no_effect() -> None:
    world = World()
    outcome = judged(world, world.evidence(90, memory=1.0))
    assert outcome.ending is Ending.NO_EFFECT
    assert outcome.finding(Axis.FORGET_CONFIDENCE).outcome is Outcome.ABOVE  # the rest is told all the same


def test_a_few_records_are_not_enough() -> None:
    world = World(forget=6)
    assert judged(world, world.evidence(50)).ending is Ending.UNDERPOWERED
    assert asked(world, world.evidence(50)).ending is Ending.UNDERPOWERED


def test_too_few_oracles_are_not_enough() -> None:
    outcome = judged(World(), World().evidence(50), minimum_oracles=20)
    assert outcome.ending is Ending.UNDERPOWERED
    assert "20" in outcome.reason


def test_an_original_that_would_pass_proves_nothing() -> None:
    world = World()
    blank = world.evidence(91)
    oracles = [world.evidence(seed) for seed in range(1, 20)]
    outcome = judge_against_oracles(world.evidence(51), original=blank, oracles=oracles, policy=CLASSIFIER)
    assert outcome.ending is Ending.UNDERPOWERED
    assert outcome.reason
    assert asked(world, world.evidence(50), original=blank).ending is Ending.UNDERPOWERED


def test_models_trained_in_stages_are_not_judged() -> None:
    world = World()
    oracles = [world.evidence(seed) for seed in range(1, 20)]
    outcome = judge_against_oracles(
        world.evidence(50), original=world.evidence(90), oracles=oracles, policy=CLASSIFIER, staged=True
    )
    assert outcome.ending is Ending.STAGED_UNDEFINED
    assert asked(world, world.evidence(50), staged=True).ending is Ending.STAGED_UNDEFINED


def test_missing_evidence_is_not_comparable() -> None:
    world = World()
    model = world.evidence(50)
    without_features = replace(model, forget=replace(model.forget, features=None))
    other_labels = answers_from_logits(np.zeros((120, 5)), np.zeros(120, dtype=int))
    for unfit in (without_features, replace(model, holdout=None), replace(model, forget=other_labels)):
        outcome = judged(world, unfit)
        assert outcome.ending is Ending.NOT_COMPARABLE
        assert outcome.reason


def test_a_request_ends_as_its_model_deserves() -> None:
    endings: dict[str, list[Ending]] = {"oracle": [], "remembers": [], "wrecked": [], "shuns": []}
    for seed in range(20):
        world = World(seed, forget=400)
        endings["oracle"].append(asked(world, world.evidence(50)).ending)
        endings["remembers"].append(asked(world, world.evidence(50, memory=0.6)).ending)
        endings["wrecked"].append(asked(world, world.evidence(50, loss=0.4)).ending)
        endings["shuns"].append(asked(world, world.evidence(50, memory=-1.0)).ending)
    assert endings["oracle"].count(Ending.PASSED) >= 18
    assert set(endings["remembers"]) == {Ending.FAILED_UNDER_FORGOT}
    assert set(endings["wrecked"]) == {Ending.UTILITY_LOST}
    assert set(endings["shuns"]) == {Ending.FAILED_OVER_FORGOT}


def test_a_request_without_a_qualified_judge_cannot_pass() -> None:
    outcome = asked(World(), World().evidence(50), qualified=False)
    assert (outcome.ending, outcome.tier) == (Ending.UNDERPOWERED, Tier.T1)


def test_held_out_examples_of_another_kind_are_declined() -> None:
    world = World(forget=400)
    another_kind = world.evidence(91, memory=1.0)  # a model that saw neither, and yet tells them apart
    assert asked(world, world.evidence(50), saw_neither=another_kind).ending is Ending.NOT_COMPARABLE
    assert asked(world, world.evidence(50), saw_neither=None).ending is Ending.NOT_COMPARABLE
    assert asked(world, replace(world.evidence(50), holdout=None)).ending is Ending.NOT_COMPARABLE


def test_losses_are_enough_where_the_policy_asks_for_no_classes() -> None:
    chance = np.random.default_rng(0)

    def model(memory: float) -> Evidence:
        losses = [1 + 0.2 * chance.random(400) - (memory if part == 0 else 0) for part in range(4)]
        forget, retain, test, holdout = map(answers_from_losses, losses)
        return Evidence(forget, retain, test, holdout)

    evidence = RequestEvidence(model(0), model(0.9), model(0), qualified=True)
    policy = replace(CLASSIFIER, request_margins={Axis.FORGET_CONFIDENCE: 0.1, Axis.MEMBERSHIP: 0.15})
    assert judge_request(evidence, policy).ending is Ending.PASSED
    assert judge_request(replace(evidence, candidate=model(0.5)), policy).ending is Ending.FAILED_UNDER_FORGOT
    assert judge_request(evidence, CLASSIFIER).ending is Ending.NOT_COMPARABLE  # it asks for accuracies
