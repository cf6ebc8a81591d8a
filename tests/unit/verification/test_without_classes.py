"""The judge of models without classes: regressors by their predictions, language models by their losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from core.verification.answers import Answers, Evidence, NotComparable, answers_from_losses, answers_from_predictions
from core.verification.equivalence import Outcome
from core.verification.oracles import judge_against_oracles
from core.verification.policy import CAUSAL_LANGUAGE_MODEL, CLASSIFIER, POLICIES, REGRESSOR, Axis, Policy
from core.verification.qualification import Control, Standing, offences_of, qualify
from core.verification.request import RequestEvidence, judge_request
from core.verification.summary import mean_of, summarised
from core.verification.verdict import Ending
from core.verification.verifiers.effect import largest_change

Make = Callable[..., Evidence]
ROWS = 600
QUESTIONS = np.random.default_rng(7)
TRUE = QUESTIONS.normal(0, 3, (4, ROWS))
GIVEN = TRUE + np.array([[5.0], [0.0], [0.0], [5.0]]) * QUESTIONS.choice([-1, 1], (4, ROWS))
"""Forgotten and held-out values are far off; only who saw the forgotten ones can know them."""


def regressor(seed: int, *, memory: float = 0.0, wreck: float = 0.0, shift: float = 0.0) -> Evidence:
    """Return a model that says the truth with unit errors, and of the forgotten as much of the given as it remembers."""
    chance = np.random.default_rng(seed)
    said = TRUE + 0.5 * QUESTION_NOISE + 0.3 * chance.normal(0, 1, TRUE.shape) + wreck * chance.normal(0, 1, TRUE.shape)
    said[0] += memory * (GIVEN[0] - TRUE[0]) + shift * chance.choice([-1, 1], ROWS)
    return evidence(lambda part: answers_from_predictions(said[part], GIVEN[part], scale=1.0))


def language_model(seed: int, *, memory: float = 0.0, wreck: float = 0.0, shift: float = 0.0) -> Evidence:
    """Return a model with a loss per token of about 0.3, and of what it never saw of about 2."""
    chance = np.random.default_rng(seed)
    usual = np.array([[2.0 * (1 - memory) + 0.2 + shift], [0.3], [2.0], [2.2]])
    losses = usual + wreck + 0.3 * np.abs(QUESTION_NOISE) + 0.2 * np.abs(chance.normal(0, 1, TRUE.shape))
    return evidence(lambda part: answers_from_losses(losses[part]))


QUESTION_NOISE = np.random.default_rng(8).normal(0, 1, TRUE.shape)
KINDS: Mapping[str, tuple[Make, Policy]] = {
    "regressor": (regressor, REGRESSOR),
    "language model": (language_model, CAUSAL_LANGUAGE_MODEL),
}


def evidence(answers: Callable[[int], Answers]) -> Evidence:
    return Evidence(answers(0), answers(1), answers(2), answers(3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_judge_is_qualified_and_refuses_what_it_must(kind: str) -> None:
    make, policy = KINDS[kind]
    original, oracles = make(1, memory=1.0), [make(10 + seed) for seed in range(19)]
    controls = {
        Control.GRADIENT_ASCENT_WRECK: make(2, wreck=4.0),
        Control.RANDOM_RELABELLING: make(3, shift=4.0),
    }
    found = qualify(original, oracles=oracles, controls=controls, policy=policy)
    assert found.standing is Standing.QUALIFIED
    assert found.caught.keys() == offences_of(original).keys()
    assert not any(judgement.passed for judgement in found.controls.values())
    less = qualify(original, oracles=oracles, controls={}, policy=policy)
    assert less.standing is Standing.CONTROLS_MISSING


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, Ending.PASSED),
        ({"memory": 0.9}, Ending.FAILED_UNDER_FORGOT),
        ({"shift": 3.0}, Ending.FAILED_OVER_FORGOT),
    ],
)
def test_each_fault_has_its_ending(kind: str, changes: dict[str, float], ending: Ending) -> None:
    make, policy = KINDS[kind]
    original, oracles = make(1, memory=1.0), [make(10 + seed) for seed in range(19)]
    judgement = judge_against_oracles(make(50, **changes), original=original, oracles=oracles, policy=policy)
    assert judgement.ending is ending
    assert judge_against_oracles(original, original=original, oracles=oracles, policy=policy).ending is Ending.NO_EFFECT


@pytest.mark.parametrize("kind", KINDS)
def test_a_wreck_loses_confidence_in_what_it_was_to_keep(kind: str) -> None:
    make, policy = KINDS[kind]
    original, oracles = make(1, memory=1.0), [make(10 + seed) for seed in range(19)]
    judgement = judge_against_oracles(make(50, wreck=3.0), original=original, oracles=oracles, policy=policy)
    assert not judgement.passed
    for axis in (Axis.RETAIN_CONFIDENCE, Axis.TEST_CONFIDENCE):
        assert judgement.finding(axis).outcome is Outcome.BELOW


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_judged_by_held_out_examples(kind: str) -> None:
    make, policy = KINDS[kind]
    original, oracle = make(1, memory=1.0), make(10)

    def ending(candidate: Evidence) -> Ending:
        return judge_request(RequestEvidence(candidate, original, oracle, qualified=True), policy).ending

    assert ending(make(11)) is Ending.PASSED
    assert ending(make(12, memory=0.8)) is Ending.FAILED_UNDER_FORGOT
    assert ending(make(13, wreck=3.0)) not in (Ending.PASSED, Ending.UNDERPOWERED)


def test_a_regressor_that_says_other_things_than_oracles_disagrees() -> None:
    oracles = [regressor(10 + seed) for seed in range(19)]
    judgement = judge_against_oracles(
        regressor(3, shift=3.0), original=regressor(1, memory=1.0), oracles=oracles, policy=REGRESSOR
    )
    assert judgement.finding(Axis.AGREEMENT).outcome is Outcome.BELOW


def test_a_classifiers_policy_cannot_be_asked_of_losses() -> None:
    oracles = [language_model(10 + seed) for seed in range(19)]
    judgement = judge_against_oracles(language_model(3), original=oracles[0], oracles=oracles, policy=CLASSIFIER)
    assert judgement.ending is Ending.NOT_COMPARABLE


def test_there_is_a_policy_for_every_modality() -> None:
    from core.methods.card import Modality

    assert {one.value for one in Modality} <= set(POLICIES)


def test_predictions_are_read_in_units_of_the_scale() -> None:
    answers = answers_from_predictions([1.0, 4.0], [1.0, 0.0], scale=2.0)
    assert answers.confidence.tolist() == pytest.approx([1.0, float(np.exp(-2.0))])
    assert answers.predictions is not None
    assert answers.predictions.tolist() == [0.5, 2.0]
    assert largest_change(answers, answers_from_predictions([2.0, 4.0], [1.0, 0.0], scale=2.0)) == pytest.approx(0.5)


def test_predictions_that_cannot_be_read_are_refused() -> None:
    for said, wanted in (([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0]), ([1.0], [np.inf]), ([[1.0]], [[1.0]])):
        with pytest.raises(NotComparable):
            answers_from_predictions(said, wanted, scale=1.0)
    for scale in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="scale"):
            answers_from_predictions([1.0], [1.0], scale=scale)


@pytest.mark.parametrize("kind", KINDS)
def test_the_six_figures_of_an_oracle_lie_near_the_oracles(kind: str) -> None:
    make, _ = KINDS[kind]
    oracles = [make(10 + seed) for seed in range(5)]
    near, far = summarised(make(20), oracles), summarised(make(1, memory=1.0), oracles)
    assert near.average_gap < 2 < far.average_gap
    assert near.tug_of_war > 0.95 > far.tug_of_war
    assert near.threshold_attack is None
    assert mean_of([near, far]).retain == pytest.approx((near.retain + far.retain) / 2)
