"""The judge itself on trial: small networks with planted canaries, trained here, and every wreck on its axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmarks.approximate.canaries import Kitchen, Weights, digits, gaussian_mixture
from core.domain.canonical import canonical
from core.verification.answers import Evidence
from core.verification.equivalence import Outcome
from core.verification.oracles import judge_against_oracles
from core.verification.policy import CLASSIFIER, Axis, Policy
from core.verification.qualification import OFFENCES, Control, Qualification, Standing, qualify
from core.verification.request import RequestEvidence, judge_request
from core.verification.verdict import Ending
from core.verification.verifiers.average_gap import standard_row
from core.verification.verifiers.membership import judged_non_member, standing_among_test

KITCHENS = {
    "digits": Kitchen(digits(canaries=120)),
    "mixture": Kitchen(gaussian_mixture()),
}


@dataclass(frozen=True)
class Trained:
    kitchen: Kitchen
    weights: Weights
    original: Evidence
    oracles: list[Evidence]
    one_more: Evidence
    controls: dict[Control, Evidence]
    standard: Qualification

    def qualify(self, policy: Policy = CLASSIFIER, **left_out: object) -> Qualification:
        controls = {control: model for control, model in self.controls.items() if control.value not in left_out}
        return qualify(self.original, oracles=self.oracles, controls=controls, policy=policy)

    def policy_without(self, *axes: Axis) -> Policy:
        return replace(
            CLASSIFIER,
            oracle_margins={axis: width for axis, width in CLASSIFIER.oracle_margins.items() if axis not in axes},
        )


@pytest.fixture(scope="module", params=KITCHENS)
def trained(request: pytest.FixtureRequest) -> Iterator[Trained]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small products: more threads only wait for each other
    kitchen = KITCHENS[request.param]
    weights = kitchen.original()
    models = kitchen.evidence(kitchen.oracles(20))
    original, controls = kitchen.evidence(weights)[0], kitchen.controls(weights)
    standard = qualify(original, oracles=models[:19], controls=controls, policy=CLASSIFIER)
    yield Trained(kitchen, weights, original, models[:19], models[19], controls, standard)
    torch.set_num_threads(threads)


def test_the_judge_is_qualified(trained: Trained) -> None:
    outcome = trained.standard
    assert outcome.standing is Standing.QUALIFIED
    assert outcome.pass_rate is not None
    assert outcome.pass_rate.estimate >= CLASSIFIER.held_out_pass_rate
    assert outcome.pass_rate.low < 0.9  # nineteen do not show more
    assert all(outcome.caught.values())
    assert outcome.digest() == trained.qualify().digest()
    assert canonical(outcome.as_json())


@pytest.mark.parametrize("control", Control)
def test_every_control_is_refused_on_the_axis_it_offends(trained: Trained, control: Control) -> None:
    judgement = trained.standard.controls[control]
    assert not judgement.passed
    assert judgement.finding(OFFENCES[control].axis).outcome in OFFENCES[control].outcomes


@pytest.mark.parametrize(
    ("control", "ending"),
    [
        (Control.ORIGINAL, Ending.FAILED_UNDER_FORGOT),
        (Control.NO_OP, Ending.NO_EFFECT),
        (Control.HEAD_ONLY, Ending.FAILED_UNDER_FORGOT),
        (Control.GRADIENT_ASCENT_WRECK, Ending.UTILITY_LOST),
    ],
)
def test_the_ending_says_what_is_wrong(trained: Trained, control: Control, ending: Ending) -> None:
    assert trained.standard.controls[control].ending is ending


def test_one_more_oracle_passes(trained: Trained) -> None:
    judgement = judge_against_oracles(
        trained.one_more, original=trained.original, oracles=trained.oracles, policy=CLASSIFIER
    )
    assert judgement.passed


def test_a_step_too_small_to_matter_has_no_effect(trained: Trained) -> None:
    moved = trained.kitchen.nearly_nothing(trained.weights)
    assert not torch.equal(moved[0], trained.weights[0])
    candidate = trained.kitchen.evidence(moved)[0]
    judgement = judge_against_oracles(candidate, original=trained.original, oracles=trained.oracles, policy=CLASSIFIER)
    assert judgement.ending is Ending.NO_EFFECT


def test_without_its_axis_a_control_is_not_caught_there(trained: Trained) -> None:
    """The proof that each question is needed: take it out, and qualification notices that the judge went blind."""
    for control, axis in (
        (Control.HEAD_ONLY, Axis.REPRESENTATION),
        (Control.RANDOM_RELABELLING, Axis.AGREEMENT),
        (Control.GRADIENT_ASCENT_WRECK, Axis.RETAIN_ACCURACY),
    ):
        outcome = trained.qualify(trained.policy_without(axis))
        assert outcome.standing is Standing.PASSES_A_WRECK
        assert [caught for caught, right in outcome.caught.items() if not right] == [control]


def test_logits_alone_see_nothing_wrong_with_a_head_only_edit(trained: Trained) -> None:
    logits = trained.policy_without(Axis.REPRESENTATION, Axis.MEMBERSHIP)
    judgement = judge_against_oracles(
        trained.controls[Control.HEAD_ONLY], original=trained.original, oracles=trained.oracles, policy=logits
    )
    outside = {finding.axis for finding in judgement.findings if finding.outcome is not Outcome.INSIDE}
    assert outside <= {Axis.RANK}


def test_margins_narrower_than_the_seeds_noise_refuse_oracles(trained: Trained) -> None:
    narrow = replace(CLASSIFIER, oracle_margins={**CLASSIFIER.oracle_margins, Axis.REPRESENTATION: 0.02})
    assert trained.qualify(narrow).standing is Standing.REFUSES_ORACLES


def test_a_control_that_was_not_made_is_missed(trained: Trained) -> None:
    assert trained.qualify(head_only=True).standing is Standing.CONTROLS_MISSING


def test_a_control_that_is_an_oracle_is_not_caught(trained: Trained) -> None:
    controls = {**trained.controls, Control.HEAD_ONLY: trained.one_more}
    outcome = qualify(trained.original, oracles=trained.oracles, controls=controls, policy=CLASSIFIER)
    assert outcome.standing is Standing.PASSES_A_WRECK
    assert not outcome.caught[Control.HEAD_ONLY]


def test_plain_records_that_every_oracle_knows_prove_nothing() -> None:
    """Without flipped labels the original is inside the margins, so the honest ending is that there is no telling."""
    kitchen = Kitchen(digits(canaries=120, flipped=False))
    original, *models = [*kitchen.evidence(kitchen.original()), *kitchen.evidence(kitchen.oracles(20))]
    policy = replace(CLASSIFIER, oracle_margins={**CLASSIFIER.oracle_margins, Axis.REPRESENTATION: 0.25})
    judgement = judge_against_oracles(models[19], original=original, oracles=models[:19], policy=policy)
    assert judgement.ending is Ending.UNDERPOWERED
    assert judgement.reason


def test_eighteen_oracles_are_too_few(trained: Trained) -> None:
    outcome = qualify(trained.original, oracles=trained.oracles[:18], controls=trained.controls, policy=CLASSIFIER)
    assert (outcome.standing, outcome.qualified) == (Standing.TOO_FEW_ORACLES, False)


def test_a_request_is_judged_without_oracles(trained: Trained) -> None:
    def judged(candidate: Evidence) -> Ending:
        evidence = RequestEvidence(candidate, trained.original, trained.oracles[0], qualified=True)
        return judge_request(evidence, CLASSIFIER).ending

    assert judged(trained.one_more) is Ending.PASSED
    assert judged(trained.original) is Ending.NO_EFFECT
    assert judged(trained.controls[Control.GRADIENT_ASCENT_WRECK]) is Ending.UTILITY_LOST
    assert judged(trained.controls[Control.HEAD_ONLY]) is Ending.FAILED_UNDER_FORGOT
    assert judged(trained.controls[Control.RANDOM_RELABELLING]) is Ending.FAILED_UNDER_FORGOT


def test_the_standard_row_ranks_oracle_before_original(trained: Trained) -> None:
    oracle, original = (standard_row(model, trained.oracles) for model in (trained.one_more, trained.original))
    assert oracle.unlearning_accuracy.low > original.unlearning_accuracy.high
    assert oracle.average_gap.high < original.average_gap.low


def test_the_attack_of_the_literature_tells_true_oracles_apart_more_than_the_area_does(trained: Trained) -> None:
    """Why that attack is reported and decides nothing: its threshold is a matter of luck where members hardly differ."""
    by_threshold, by_area = (
        float(np.ptp([read(oracle).mean() for oracle in trained.oracles]))
        for read in (judged_non_member, standing_among_test)
    )
    assert by_threshold > by_area
    assert by_area < CLASSIFIER.oracle_margins[Axis.MEMBERSHIP]
