"""Intervals: SciPy's where SciPy has them, and coverage by simulation where honesty is the point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.verification.intervals import bootstrap, clopper_pearson, difference_of_means, wilson

COUNTS = st.integers(1, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(counts=COUNTS, confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_proportions_have_scipys_intervals(counts: tuple[int, int], confidence: float) -> None:
    for mine, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        interval = mine(*counts, confidence)
        reference = stats.binomtest(*counts).proportion_ci(confidence, method=method)
        assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-7)
        assert interval.low - 1e-12 <= interval.estimate <= interval.high + 1e-12


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("total", [5, 19, 60])
def test_the_exact_interval_covers_at_least_as_often_as_it_says(share: float, total: int) -> None:
    covered = sum(
        stats.binom.pmf(hits, total, share)
        for hits in range(total + 1)
        if clopper_pearson(hits, total, 0.9).low <= share <= clopper_pearson(hits, total, 0.9).high
    )
    assert covered >= 0.9


def test_nineteen_of_nineteen_is_not_certainty() -> None:
    assert clopper_pearson(19, 19, 0.9).low == pytest.approx(0.05 ** (1 / 19))


@pytest.mark.parametrize(("successes", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, total: int) -> None:
    for interval in (clopper_pearson, wilson):
        with pytest.raises(ValueError, match="proportion"):
            interval(successes, total, 0.9)


def test_a_difference_is_scipys_welch_interval_of_the_padded_samples() -> None:
    chance = np.random.default_rng(0)
    first, second = chance.random(30), chance.random(50) ** 2
    interval = difference_of_means(first, second, 0.9)
    padded = [np.append(sample, [0, 1]) for sample in (first, second)]
    reference = stats.ttest_ind(*padded, equal_var=False).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high))
    assert interval.estimate == pytest.approx(first.mean() - second.mean())


def test_five_equal_scores_a_side_leave_much_open() -> None:
    interval = difference_of_means(np.zeros(5), np.zeros(5), 0.9)
    assert interval.low < -0.3
    assert interval.high > 0.3


@pytest.mark.parametrize("count", [5, 20, 150])
@pytest.mark.parametrize("shares", [(0.02, 0.02), (0.05, 0.3), (0.5, 0.5)])
def test_differences_of_rare_events_are_covered(count: int, shares: tuple[float, float]) -> None:
    chance = np.random.default_rng(count)
    truth, trials = shares[0] - shares[1], 600
    covered = 0
    for _ in range(trials):
        first, second = ((chance.random(count) < share).astype(np.float64) for share in shares)
        interval = difference_of_means(first, second, 0.9)
        covered += interval.low <= truth <= interval.high
    assert covered / trials >= 0.9 - 3 * np.sqrt(0.09 / trials)


def test_scores_outside_the_scale_are_refused() -> None:
    for scores in (np.array([0.5, 1.5]), np.array([]), np.array([np.nan])):
        with pytest.raises(ValueError, match="scores"):
            difference_of_means(scores, np.array([0.5]), 0.9)


def test_the_bootstrap_is_scipys_percentile_interval_and_the_same_every_time() -> None:
    sample = np.random.default_rng(3).exponential(1, 60)

    def mean(drawn: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(drawn.mean())

    mine = bootstrap(mean, [sample], confidence=0.9, seed=5, draws=4000)
    theirs = stats.bootstrap(
        (sample,), np.mean, confidence_level=0.9, method="percentile", n_resamples=4000, rng=np.random.default_rng(9)
    ).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), rel=0.04)
    assert bootstrap(mean, [sample], confidence=0.9, seed=5, draws=4000) == mine
    with pytest.raises(ValueError, match="empty"):
        bootstrap(mean, [np.array([])], confidence=0.9, seed=0)
