"""Quantiles against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from core.verification.distributions import beta_probability, beta_quantile, normal_quantile, student_quantile

SHAPES = st.floats(0.1, 500)


@given(value=st.floats(0, 1), a=SHAPES, b=SHAPES)
def test_the_incomplete_beta_function_is_scipys(value: float, a: float, b: float) -> None:
    assert beta_probability(value, a, b) == pytest.approx(special.betainc(a, b, value), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 19), (3, 4), (400, 2), (19, 1)])
@pytest.mark.parametrize("probability", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_the_beta_quantile_is_scipys(probability: float, a: float, b: float) -> None:
    assert beta_quantile(probability, a, b) == pytest.approx(stats.beta.ppf(probability, a, b), rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 17.5, 18, 300])
@pytest.mark.parametrize("probability", [0.01, 0.3, 0.5, 0.95, 0.999])
def test_the_t_quantile_is_scipys(probability: float, degrees: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(
        stats.t.ppf(probability, degrees), abs=1e-7, rel=1e-8
    )


def test_the_normal_quantile_is_scipys() -> None:
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize(("value", "a", "b"), [(1.1, 1, 1), (-0.1, 1, 1), (0.5, 0, 1), (0.5, 1, -1)])
def test_nonsense_is_refused(value: float, a: float, b: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        beta_probability(value, a, b)


@pytest.mark.parametrize(("probability", "degrees"), [(0, 3), (1, 3), (0.5, 0)])
def test_a_t_quantile_of_nothing_is_refused(probability: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="t quantile"):
        student_quantile(probability, degrees)
