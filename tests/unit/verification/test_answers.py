"""The judge's own reading of logits and losses, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from core.verification.answers import (
    MARGIN_LIMIT,
    Evidence,
    NotComparable,
    answers_from_logits,
    answers_from_losses,
    check_same_questions,
)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 3.0, 40.0, 2000.0]), shift=st.floats(-1e4, 1e4))
def test_logits_are_read_as_scipy_reads_them(seed: int, scale: float, shift: float) -> None:
    chance = np.random.default_rng(seed)
    logits, labels = chance.normal(0, scale, (7, 4)), chance.integers(0, 4, 7)
    answers = answers_from_logits(logits + shift, labels)
    expected = special.log_softmax(logits, axis=1)
    assert answers.log_probabilities == pytest.approx(expected, abs=1e-6)
    assert answers.confidence == pytest.approx(special.softmax(logits, axis=1)[np.arange(7), labels], abs=1e-7)
    others = np.array([special.logsumexp(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)])
    margin = np.clip(logits[np.arange(7), labels] - others, -MARGIN_LIMIT, MARGIN_LIMIT)
    assert answers.margin == pytest.approx(margin, abs=1e-6)
    assert answers.correct == pytest.approx((logits.argmax(axis=1) == labels).astype(float))


def test_a_margin_is_the_log_odds_of_the_label() -> None:
    answers = answers_from_logits([[2.0, 0.5, -1.0]], [1])
    assert answers.margin == pytest.approx(special.logit(answers.confidence))


def test_losses_and_logits_agree() -> None:
    chance = np.random.default_rng(0)
    from_logits = answers_from_logits(chance.normal(0, 2, (9, 5)), chance.integers(0, 5, 9))
    from_losses = answers_from_losses(-np.log(from_logits.confidence))
    assert from_losses.confidence == pytest.approx(from_logits.confidence)
    assert from_losses.margin == pytest.approx(from_logits.margin)
    assert from_losses.correct is None


def test_perfect_and_hopeless_losses_have_finite_margins() -> None:
    assert answers_from_losses([0.0, 1e9]).margin.tolist() == [MARGIN_LIMIT, -MARGIN_LIMIT]


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[np.nan, 0.0]], [0]),
        ([[np.inf, 0.0]], [0]),
        ([[0.0, 1.0]], [2]),
        ([[0.0, 1.0]], [-1]),
        ([0.0], [0]),
        ([[0.0]], []),
    ],
)
def test_answers_that_are_none_cannot_be_compared(logits: list[list[float]], labels: list[int]) -> None:
    with pytest.raises(NotComparable):
        answers_from_logits(logits, labels)


@pytest.mark.parametrize("losses", [[], [-1.0], [np.nan], [[1.0]]])
def test_losses_that_are_none_cannot_be_compared(losses: list[float]) -> None:
    with pytest.raises(NotComparable):
        answers_from_losses(losses)


@pytest.mark.parametrize("features", [[1.0], [[1.0], [2.0]], [[np.nan]]])
def test_features_must_fit(features: list[float]) -> None:
    with pytest.raises(NotComparable, match="features"):
        answers_from_logits([[0.0, 1.0]], [0], features)


def test_other_questions_are_noticed() -> None:
    asked = answers_from_logits([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    relabelled = answers_from_logits([[0.0, 1.0], [1.0, 0.0]], [1, 1])
    shorter = answers_from_logits([[0.0, 1.0]], [0])
    without = answers_from_losses([1.0, 1.0])
    same = Evidence(asked, asked, asked)
    check_same_questions(same, [same])
    for other in (relabelled, shorter, without):
        with pytest.raises(NotComparable):
            check_same_questions(same, [Evidence(other, asked, asked)])
    with pytest.raises(NotComparable):
        check_same_questions(same, [Evidence(asked, asked, asked, asked)])
