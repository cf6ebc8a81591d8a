"""KLoM against the published calibration, a naive reference, and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from core.verification.verifiers.klom import (
    BINS,
    SMALLEST_SHARE,
    Fit,
    binned_divergence,
    divergences,
    gaussian_divergence,
    klom,
)

CALIBRATION = {  # models a side: KLoM of identical distributions, and after a shift of 0.5, 1 and 2 deviations
    5: (7.96, 7.97, 8.27, 9.03),
    10: (5.67, 5.80, 6.15, 7.74),
    20: (2.97, 3.18, 4.06, 6.10),
    50: (0.92, 1.11, 1.97, 4.54),
    100: (0.37, 0.54, 1.21, 3.63),
    200: (0.15, 0.33, 0.88, 3.05),
}
GAUSSIAN_CALIBRATION = {10: (0.31, 0.42, 0.95), 20: (0.10, 0.24, 0.69), 50: (0.04, 0.17, 0.58), 100: (0.02, 0.14, 0.53)}
SHIFTS = (0.0, 0.5, 1.0, 2.0)
RECORDS = 600


def margins(models: int, shift: float, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(shift, 1, (models, RECORDS))


@pytest.mark.parametrize("models", CALIBRATION)
@pytest.mark.parametrize("column", range(4))
def test_the_histogram_reproduces_the_published_calibration(models: int, column: int) -> None:
    """`reference/approximate.md` §2.1: what identical and shifted distributions score."""
    scores = divergences(margins(models, SHIFTS[column], 1), margins(models, 0, 2), Fit.BINNED)
    assert scores.mean() == pytest.approx(CALIBRATION[models][column], rel=0.07, abs=0.05)


@pytest.mark.parametrize("models", GAUSSIAN_CALIBRATION)
@pytest.mark.parametrize("column", range(3))
def test_the_gaussian_fit_reproduces_the_published_calibration(models: int, column: int) -> None:
    """The published row comes from fewer draws; the next test holds ours to what theory expects."""
    scores = divergences(margins(models, SHIFTS[column], 3), margins(models, 0, 4), Fit.GAUSSIAN)
    assert scores.mean() == pytest.approx(GAUSSIAN_CALIBRATION[models][column], rel=0.15, abs=0.06)


@pytest.mark.parametrize("models", [5, 10, 20])
def test_the_gaussian_fit_of_equals_scores_what_theory_expects(models: int) -> None:
    scores = np.concatenate(
        [divergences(margins(models, 0, seed), margins(models, 0, seed + 99), Fit.GAUSSIAN) for seed in range(20)]
    )
    degrees = models - 1  # E[s_a^2 / s_b^2] = degrees / (degrees - 2), and the means differ by 2 / N
    expected = (0.5 + 1 / models) * degrees / (degrees - 2) - 0.5
    assert scores.mean() == pytest.approx(expected, rel=0.08)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), here=st.integers(2, 40), there=st.integers(2, 40))
def test_the_histogram_is_what_numpys_says(seed: int, here: int, there: int) -> None:
    chance = np.random.default_rng(seed)
    unlearned, oracles = chance.normal(0, 1, here), chance.normal(0.4, 2, there)
    pooled = np.concatenate([unlearned, oracles])
    edges = (pooled.min(), pooled.max())
    shares = [np.histogram(part, BINS, edges)[0] / len(part) for part in (unlearned, oracles)]
    floored = np.maximum(shares[1], SMALLEST_SHARE)
    expected = sum(p * np.log(p / q) for p, q in zip(shares[0], floored, strict=True) if p > 0)
    assert binned_divergence(unlearned[:, None], oracles[:, None])[0] == pytest.approx(expected, abs=0.3)


def test_the_largest_margin_is_counted() -> None:
    unlearned, oracles = np.array([[0.0], [1.0]]), np.array([[0.0], [0.5]])
    expected = 0.5 * np.log(0.5 / 0.5) + 0.5 * np.log(0.5 / SMALLEST_SHARE)
    assert binned_divergence(unlearned, oracles)[0] == pytest.approx(expected)


def test_disjoint_margins_score_the_cap_and_equal_ones_nothing() -> None:
    assert binned_divergence(np.full((9, 1), 5.0), np.zeros((9, 1)))[0] == pytest.approx(np.log(1e5))
    assert binned_divergence(np.zeros((9, 1)), np.zeros((9, 1)))[0] == pytest.approx(0)


def test_the_gaussian_fit_is_the_integral_of_its_definition() -> None:
    chance = np.random.default_rng(7)
    unlearned, oracles = chance.normal(1, 0.7, (12, 1)), chance.normal(0, 1.3, (12, 1))
    here, there = (stats.norm(part.mean(), part.std(ddof=1)) for part in (unlearned, oracles))
    expected, _ = integrate.quad(lambda x: here.pdf(x) * (here.logpdf(x) - there.logpdf(x)), -8, 8)
    assert gaussian_divergence(unlearned, oracles)[0] == pytest.approx(expected, rel=1e-6)


def test_the_direction_is_from_unlearned_to_oracle() -> None:
    narrow, wide = margins(100, 0, 1) * 0.2, margins(100, 0, 2)
    there = divergences(narrow, wide, Fit.BINNED).mean()
    assert there < 0.5 * divergences(wide, narrow, Fit.BINNED).mean()
    assert klom(narrow, wide).mean.estimate == pytest.approx(there)
    assert gaussian_divergence(narrow, wide).mean() < 0.5 * gaussian_divergence(wide, narrow).mean()


@pytest.mark.parametrize(("models", "fit"), [(19, Fit.GAUSSIAN), (49, Fit.GAUSSIAN), (50, Fit.BINNED)])
def test_few_models_get_the_gaussian_fit(models: int, fit: Fit) -> None:
    assert klom(margins(models, 0, 1), margins(models, 0, 2)).fit is fit


def test_the_floor_is_published_and_equals_stay_near_it() -> None:
    equal, shifted = (klom(margins(100, shift, 1), margins(100, 0, 2)) for shift in (0.0, 2.0))
    assert equal.floor_mean == pytest.approx(CALIBRATION[50][0], rel=0.1)  # halves of a hundred
    assert not equal.above_floor
    assert shifted.above_floor
    assert shifted.percentile_95 > shifted.mean.estimate > shifted.mean.low
    assert klom(margins(100, 0.0, 1), margins(100, 0, 2)) == equal


def test_too_few_models_are_refused() -> None:
    with pytest.raises(ValueError, match="M >= 4"):
        klom(margins(5, 0, 1), margins(3, 0, 2))
    with pytest.raises(ValueError, match="got"):
        klom(margins(5, 0, 1), margins(5, 0, 2)[:, :3])
