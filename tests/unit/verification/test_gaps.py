"""Gaps to oracles and the margins they are placed in: sizes and powers by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.verification.equivalence import Margin, Outcome
from core.verification.gaps import gap_to_oracles, gap_to_original
from core.verification.intervals import Interval, difference_of_means

SCORES = st.floats(0, 1)


@given(low=st.floats(-1, 1), width=st.floats(0, 1), delta=st.floats(0.01, 0.3))
def test_an_interval_lies_in_exactly_one_place(low: float, width: float, delta: float) -> None:
    interval = Interval(low + width / 2, low, low + width, 0.9)
    outcome = Margin.both(delta).place(interval)
    assert (outcome is Outcome.INSIDE) == (-delta <= low and low + width <= delta)
    assert (outcome is Outcome.ABOVE) == (low > delta)
    assert (outcome is Outcome.BELOW) == (low + width < -delta)
    mirrored = Margin.both(delta).place(Interval(-interval.estimate, -interval.high, -interval.low, 0.9))
    swapped = {Outcome.ABOVE: Outcome.BELOW, Outcome.BELOW: Outcome.ABOVE}
    assert mirrored is swapped.get(outcome, outcome)


def test_being_better_is_no_fault_where_only_loss_is() -> None:
    assert Margin.not_below(0.05).place(Interval(0.5, 0.4, 0.6, 0.9)) is Outcome.INSIDE
    assert Margin.not_below(0.05).place(Interval(-0.5, -0.6, -0.4, 0.9)) is Outcome.BELOW
    assert Margin.not_below(0.05).place(Interval(-0.05, -0.1, 0, 0.9)) is Outcome.UNDECIDED


@pytest.mark.parametrize("seed", range(30))
def test_inside_is_what_two_one_sided_t_tests_say(seed: int) -> None:
    chance = np.random.default_rng(seed)
    first, second = chance.beta(2, 2, 60), chance.beta(2, 2, 60)
    padded = [np.append(sample, [0, 1]) for sample in (first, second)]
    p_values = [
        stats.ttest_ind(padded[0] + 0.1, padded[1], equal_var=False, alternative="greater").pvalue,
        stats.ttest_ind(padded[0] - 0.1, padded[1], equal_var=False, alternative="less").pvalue,
    ]
    outcome = Margin.both(0.1).place(difference_of_means(first, second, 0.9))
    assert (outcome is Outcome.INSIDE) == (max(p_values) < 0.05)


def oracles_and_one_more(seed: int, *, count: int = 19, examples: int = 100, shift: float = 0.0) -> Interval:
    """Return the gap of one more model that differs from the oracles by `shift` in every score."""
    chance = np.random.default_rng(seed)
    difficulty = chance.normal(0, 2, examples)
    models = difficulty + chance.normal(0, 0.1, (count + 1, 1)) + chance.normal(0, 0.5, (count + 1, examples))
    scores = 1 / (1 + np.exp(-models))
    scores[0] = np.clip(scores[0] + shift, 0, 1)
    return gap_to_oracles(scores[0], scores[1:], 0.9)


def share_of(outcome: Outcome, delta: float, trials: int = 400, **details: float) -> float:
    hits = [Margin.both(delta).place(oracles_and_one_more(seed, **details)) is outcome for seed in range(trials)]  # type: ignore[arg-type]
    return float(np.mean(hits))


def test_one_more_oracle_is_inside_a_margin_wider_than_the_seeds_noise() -> None:
    assert share_of(Outcome.INSIDE, 0.1) >= 0.99


def test_a_shift_by_the_margin_itself_passes_no_more_often_than_the_level() -> None:
    # Clipped scores shift by less than asked, so the truth is at the border or within: the rate may reach the level.
    assert share_of(Outcome.INSIDE, 0.05, shift=0.07) <= 0.05


def test_a_shift_of_three_margins_is_shown() -> None:
    assert share_of(Outcome.ABOVE, 0.05, shift=0.25) >= 0.99
    assert share_of(Outcome.BELOW, 0.05, shift=-0.25) >= 0.99


def test_few_examples_decide_nothing() -> None:
    assert share_of(Outcome.UNDECIDED, 0.1, examples=5) >= 0.95


@given(score=SCORES, examples=st.integers(1, 40))
def test_equal_answers_never_look_certain(score: float, examples: int) -> None:
    interval = gap_to_oracles(np.full(examples, score), np.full((19, examples), score), 0.9)
    assert interval.estimate == pytest.approx(0)
    assert interval.high - interval.low > 1 / (examples + 1)


@given(examples=st.integers(2, 30), seed=st.integers(0, 1000))
def test_more_copies_of_the_same_examples_narrow_the_interval(examples: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    candidate, oracles = chance.random(examples), chance.random((5, examples))
    once = gap_to_oracles(candidate, oracles, 0.9)
    thrice = gap_to_oracles(np.tile(candidate, 3), np.tile(oracles, 3), 0.9)
    assert thrice.estimate == pytest.approx(once.estimate)
    assert thrice.high - thrice.low < once.high - once.low


def test_oracles_that_differ_by_seed_widen_the_interval() -> None:
    levels = np.linspace(0.1, 0.9, 19)
    interval = gap_to_oracles(np.full(2000, levels.mean()), np.repeat(levels[:, None], 2000, axis=1), 0.9)
    reference = stats.ttest_1samp(levels, 0).confidence_interval(0.9)
    assert interval.high - interval.low == pytest.approx(reference.high - reference.low, rel=1e-3)


def test_the_gap_to_the_original_is_paired() -> None:
    chance = np.random.default_rng(0)
    before = (chance.random(400) < 0.7).astype(float)
    after = before.copy()
    after[:4] = 0
    interval = gap_to_original(after, before, 0.9)
    reference = stats.ttest_1samp(np.concatenate([after - before, [0.5**0.5, -(0.5**0.5)]]), 0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-3)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="K >= 2"):
        gap_to_oracles(np.zeros(3), np.zeros((1, 3)), 0.9)
    with pytest.raises(ValueError, match="K >= 2"):
        gap_to_oracles(np.zeros(3), np.zeros((4, 2)), 0.9)
    with pytest.raises(ValueError, match="same examples"):
        gap_to_original(np.zeros(3), np.zeros(2), 0.9)
