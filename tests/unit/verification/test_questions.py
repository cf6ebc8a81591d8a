"""Agreement, representation, tug of war, the standard row: references, published rows, and that each can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from core.verification.answers import Evidence, NotComparable, answers_from_logits, answers_from_losses
from core.verification.catalogue import QUESTIONS
from core.verification.equivalence import Outcome
from core.verification.policy import CAUSAL_LANGUAGE_MODEL, CLASSIFIER, Axis
from core.verification.verifiers.agreement import agreement_scores
from core.verification.verifiers.average_gap import average_gap, run_time_share, standard_row
from core.verification.verifiers.membership import Signal
from core.verification.verifiers.representation import RIDGE, recovered_beside_holdout, recovered_labels
from core.verification.verifiers.tug_of_war import tug_of_war, tug_of_war_interval
from tests.unit.verification.synthetic import World

WORLD = World()
ORACLES = [WORLD.evidence(seed) for seed in range(1, 20)]
ORIGINAL = WORLD.evidence(90, memory=1.0)
SHUNNING = WORLD.evidence(91, memory=-1.0)
WRECK = WORLD.evidence(92, loss=0.5)
LOSSES = Evidence(*(answers_from_losses(np.ones(4)) for _ in range(3)))

TABLE = {  # `reference/approximate.md` §3.1: RA, A(F), TA, MIA-efficacy and the published average gap
    "salun": ((99.62, 97.15, 93.93, 14.39), 1.15),
    "forget_only_salun": ((99.88, 99.89, 94.42, 9.51), 2.20),
    "l1_sparse": ((97.74, 95.81, 91.59, 9.84), 2.26),
    "boundary_shrink": ((98.29, 98.22, 92.69, 8.96), 2.67),
    "influence": ((99.20, 98.93, 93.20, 2.67), 4.06),
    "gradient_ascent": ((99.50, 99.31, 94.01, 1.70), 4.12),
    "forget_only_random_label": ((99.99, 99.98, 95.04, 2.15), 4.19),
    "random_label": ((99.67, 92.39, 92.83, 37.36), 7.15),
}
RETRAIN = (100.00, 94.76, 94.26, 12.88)


@pytest.mark.parametrize("method", TABLE)
def test_the_average_gap_is_the_published_one(method: str) -> None:
    """Two rows of that table (FT, boundary expand) do not follow from their own columns and are left out."""
    row, published = TABLE[method]
    assert average_gap(row, RETRAIN) == pytest.approx(published, abs=0.006)


def test_the_tug_of_war_is_a_product_of_nearness() -> None:
    assert tug_of_war([0, 0, 0]) == 1
    assert tug_of_war([0.5, -0.2, 0.1]) == pytest.approx(0.5 * 0.8 * 0.9)
    oracle = tug_of_war_interval(WORLD.evidence(50), ORACLES)
    original, wreck = (tug_of_war_interval(model, ORACLES) for model in (ORIGINAL, WRECK))
    assert oracle.estimate > 0.95
    assert original.high < oracle.low
    assert wreck.high < oracle.low
    assert tug_of_war_interval(ORIGINAL, ORACLES) == original
    means = [
        [np.mean(part.predicted == part.labels) for part in (one.forget, one.retain, one.test)]
        for one in (ORIGINAL, *ORACLES)
    ]
    expected = np.prod(1 - np.abs(means[0] - np.mean(means[1:], axis=0)))
    assert original.estimate == pytest.approx(expected)


def test_the_standard_row_is_counted_by_hand() -> None:
    row = standard_row(ORIGINAL, ORACLES)
    forget = ORIGINAL.forget
    assert row.unlearning_accuracy.estimate == pytest.approx(np.mean(forget.predicted != forget.labels))
    assert row.retain_accuracy.estimate == pytest.approx(np.mean(ORIGINAL.retain.predicted == ORIGINAL.retain.labels))
    assert row.test_accuracy.low < row.test_accuracy.estimate < row.test_accuracy.high
    assert set(row.membership) == set(Signal)
    held_out = standard_row(WORLD.evidence(50), ORACLES)
    assert held_out.average_gap.high < row.average_gap.low
    assert standard_row(ORIGINAL, ORACLES) == row


def test_run_time_is_a_share_of_retraining() -> None:
    share = run_time_share([1.0, 2.0, 3.0], [20.0, 20.0])
    assert share.estimate == pytest.approx(0.1)
    assert share.low < 0.1 < share.high
    with pytest.raises(ValueError, match="empty"):
        run_time_share([], [1.0])


def test_agreement_is_counted_by_hand() -> None:
    def saying(*classes: int) -> Evidence:
        answers = answers_from_logits(5 * np.eye(3)[list(classes)], [0] * len(classes))
        return Evidence(answers, answers, answers)

    candidate, oracles = agreement_scores(saying(0, 2), [saying(0, 1), saying(0, 1), saying(0, 2)])
    assert candidate.tolist() == [1, 0]
    assert oracles.tolist() == [[1, 1], [1, 1], [1, 0]]  # the first two tie with 1 against 2: the lower class wins
    _, lonely = agreement_scores(saying(0), [saying(0), saying(1)])
    assert lonely.tolist() == [[0], [0]]  # nobody else agrees, whatever one says oneself


def test_the_fresh_head_is_scikit_learns_ridge() -> None:
    retain, forget = ORIGINAL.retain, ORIGINAL.forget
    assert retain.features is not None
    assert forget.features is not None
    centre = retain.features.mean(axis=0)
    scale = np.sqrt(((retain.features - centre) ** 2).mean())
    design = (np.vstack([retain.features, forget.features]) - centre) / scale
    design = np.hstack([design, np.ones((len(design), 1))])
    labels = np.concatenate([np.asarray(retain.labels), np.asarray(forget.labels)])
    weights = np.repeat([0.5 / len(retain), 0.5 / len(forget)], [len(retain), len(forget)])
    head = Ridge(alpha=RIDGE, fit_intercept=False).fit(design, np.eye(5)[labels], sample_weight=weights)
    expected = head.predict(design[len(retain) :]).argmax(axis=1) == forget.labels
    assert np.mean(recovered_labels(ORIGINAL) == expected) >= 0.99


def test_a_fresh_head_treats_unseen_records_alike_and_remembered_ones_not() -> None:
    forget, holdout = recovered_beside_holdout(ORACLES[0])
    assert abs(forget.mean() - holdout.mean()) < 0.2
    forget, holdout = recovered_beside_holdout(ORIGINAL)
    assert forget.mean() > holdout.mean() + 0.3
    with pytest.raises(NotComparable, match="held-out"):
        recovered_beside_holdout(replace(ORIGINAL, holdout=None))


@pytest.mark.parametrize("axis", CLASSIFIER.oracle_margins)
def test_every_question_lets_an_oracle_pass(axis: Axis) -> None:
    finding = QUESTIONS[axis].ask(
        WORLD.evidence(50), ORACLES, width=CLASSIFIER.oracle_margins[axis], confidence=CLASSIFIER.confidence
    )
    assert finding.outcome is Outcome.INSIDE
    assert finding.accuses is None


@pytest.mark.parametrize(
    ("axis", "model", "outcome"),
    [
        (Axis.FORGET_ACCURACY, ORIGINAL, Outcome.ABOVE),
        (Axis.FORGET_CONFIDENCE, ORIGINAL, Outcome.ABOVE),
        (Axis.MEMBERSHIP, WORLD.evidence(93, memory=1.5), Outcome.ABOVE),
        (Axis.MEMBERSHIP, WORLD.evidence(94, memory=0.5), Outcome.BELOW),
        (Axis.AGREEMENT, ORIGINAL, Outcome.BELOW),
        (Axis.REPRESENTATION, ORIGINAL, Outcome.ABOVE),
        (Axis.RETAIN_ACCURACY, WRECK, Outcome.BELOW),
        (Axis.TEST_ACCURACY, WRECK, Outcome.BELOW),
    ],
)
def test_every_question_has_been_seen_to_refuse(axis: Axis, model: Evidence, outcome: Outcome) -> None:
    width = CLASSIFIER.oracle_margins[axis]
    finding = QUESTIONS[axis].ask(model, ORACLES, width=width, confidence=CLASSIFIER.confidence)
    assert finding.outcome is outcome
    assert finding.accuses is not None


@pytest.mark.parametrize("axis", sorted(set(QUESTIONS) - CAUSAL_LANGUAGE_MODEL.oracle_margins.keys()))
def test_questions_about_classes_cannot_be_asked_of_losses(axis: Axis) -> None:
    with pytest.raises(NotComparable):
        QUESTIONS[axis].ask(LOSSES, [LOSSES, LOSSES], width=0.1, confidence=0.9)


def test_reports_about_classes_cannot_be_made_of_losses() -> None:
    for report in (tug_of_war_interval, standard_row):
        with pytest.raises(NotComparable, match="logits"):
            report(LOSSES, [LOSSES, LOSSES])


def test_confidence_can_be_asked_of_losses() -> None:
    finding = QUESTIONS[Axis.FORGET_CONFIDENCE].ask(LOSSES, [LOSSES] * 19, width=0.25, confidence=0.9)
    assert finding.outcome is Outcome.UNDECIDED  # four records
