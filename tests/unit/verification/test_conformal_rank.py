"""The rank among oracles: exact size, the published powers, and a naive reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.verification.answers import Evidence, answers_from_losses
from core.verification.equivalence import Outcome
from core.verification.verdict import Ending
from core.verification.verifiers.conformal_rank import ask_rank, conformal_rank, leave_one_out_z


def refusals(examples: int, *, shift: float = 0.0, share: float = 1.0, oracles: int = 19, trials: int = 400) -> float:
    """Return how often p <= 0.05 when the margins of a share of the records are shifted by so many deviations."""
    chance = np.random.default_rng(examples + int(10 * shift))
    moved = np.arange(examples) < share * examples
    refused = 0
    for _ in range(trials):
        models = chance.normal(0, 1, (oracles + 1, examples))
        refused += conformal_rank(models[0] + shift * moved, models[1:]).p_value <= 0.05
    return refused / trials


@pytest.mark.parametrize("examples", [5, 20, 100])
def test_one_more_oracle_is_refused_at_the_stated_rate(examples: int) -> None:
    assert refusals(examples, trials=1500) == pytest.approx(0.05, abs=0.018)


@pytest.mark.parametrize(("examples", "published", "measured"), [(20, 0.64, 0.64), (100, 0.87, 0.99), (500, 0.96, 1.0)])
def test_a_shift_of_one_deviation_is_refused(examples: int, published: float, measured: float) -> None:
    """`reference/approximate.md` §2.1: all of F shifted by 1 sigma, K = 19; with many records ours is sharper."""
    rate = refusals(examples, shift=1.0)
    assert rate == pytest.approx(measured, abs=0.06)
    assert rate >= published - 0.06


@pytest.mark.parametrize(("examples", "published", "measured"), [(20, 0.45, 0.38), (100, 0.78, 0.91), (500, 0.96, 1.0)])
def test_a_tenth_of_the_records_at_three_deviations_is_refused(
    examples: int, published: float, measured: float
) -> None:
    """The same table: two records of twenty are found a little less often than published, ten of a hundred more."""
    rate = refusals(examples, shift=3.0, share=0.1)
    assert rate == pytest.approx(measured, abs=0.06)
    assert rate >= published - 0.12


def test_eighteen_oracles_can_refuse_nobody_at_one_in_twenty() -> None:
    assert refusals(100, shift=50.0, oracles=18, trials=20) == 0
    assert refusals(100, shift=50.0, oracles=19, trials=20) == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), models=st.integers(4, 12), examples=st.integers(1, 9))
def test_z_is_what_a_loop_says(seed: int, models: int, examples: int) -> None:
    margins = np.random.default_rng(seed).normal(3, 2, (models, examples))
    expected = np.empty_like(margins)
    for number in range(models):
        others = np.delete(margins, number, axis=0)
        expected[number] = (margins[number] - others.mean(axis=0)) / others.std(axis=0, ddof=1)
    close = np.abs(expected) < 20  # beyond, the floor under the deviation may act
    assert leave_one_out_z(margins)[close] == pytest.approx(expected[close], rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 50), shift=st.floats(-50, 50))
def test_the_rank_knows_no_unit(seed: int, scale: float, shift: float) -> None:
    margins = np.random.default_rng(seed).normal(0, 1, (20, 15))
    plain = conformal_rank(margins[0], margins[1:])
    scaled = margins * scale + shift
    assert conformal_rank(scaled[0], scaled[1:]).p_value == pytest.approx(plain.p_value, abs=0.051)


def test_equal_models_are_not_strange() -> None:
    margins = np.full((20, 8), 1.5)
    assert conformal_rank(margins[0], margins[1:]).p_value == 1


@pytest.mark.parametrize(
    ("shift", "outcome", "ending"),
    [
        (-0.3, Outcome.ABOVE, Ending.FAILED_UNDER_FORGOT),
        (0.5, Outcome.BELOW, Ending.FAILED_OVER_FORGOT),
        (0.0, Outcome.INSIDE, None),
    ],
)
def test_a_refusal_has_a_direction(shift: float, outcome: Outcome, ending: Ending | None) -> None:
    chance = np.random.default_rng(11)

    def model(change: float) -> Evidence:
        answers = answers_from_losses(1 + 0.05 * chance.standard_normal(60).clip(-3, 3) + change)
        return Evidence(answers, answers, answers)

    finding = ask_rank(model(shift), [model(0) for _ in range(19)], 0.05)
    assert (finding.outcome, finding.accuses) == (outcome, ending)
