"""Quantiles of the beta, Student and normal distributions: all that the intervals need, without another dependency."""

from __future__ import annotations

import math
from statistics import NormalDist

_STEPS = 400
_TINY = 1e-300
_HALVINGS = 200


def beta_probability(value: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    Raises:
        ValueError: a or b is not positive, or `value` lies outside 0..1.
    """
    if not (a > 0 and b > 0 and 0 <= value <= 1):
        raise ValueError(f"I_x(a, b) needs a, b > 0 and x in 0..1, got {value=}, {a=}, {b=}")
    if value in {0.0, 1.0}:
        return value
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(value) + b * math.log1p(-value)
    if value > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - math.exp(front) * _continued_fraction(1 - value, b, a) / b
    return math.exp(front) * _continued_fraction(value, a, b) / a


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the x with I_x(a, b) = probability, by bisection: slow, and never wrong."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if beta_probability(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def student_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t.

    Raises:
        ValueError: the probability lies outside 0..1, or there are no degrees of freedom.
    """
    if not (0 < probability < 1 and degrees > 0):
        raise ValueError(f"a t quantile needs a probability between 0 and 1, got {probability=}, {degrees=}")
    if probability < 0.5:  # noqa: PLR2004 - the middle of a symmetric distribution
        return -student_quantile(1 - probability, degrees)
    tail = beta_quantile(2 * (1 - probability), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - tail) / tail)


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


def _continued_fraction(value: float, a: float, b: float) -> float:
    """Evaluate the fraction by Lentz's method."""
    upper, lower = 1.0, 1 / _away_from_zero(1 - (a + b) * value / (a + 1))
    result = lower
    for step in range(1, _STEPS):
        even = step * (b - step) * value / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * value / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            lower = 1 / _away_from_zero(1 + term * lower)
            upper = _away_from_zero(1 + term / upper)
            result *= lower * upper
        if abs(lower * upper - 1) < 1e-15:  # noqa: PLR2004 - as exact as doubles get
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
