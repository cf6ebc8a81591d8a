"""Ridge sums and the solve: exact where they say so, and otherwise within the bound that they say."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from core.modelling import moments as page
from core.modelling.moments import LARGEST, UNIT, Moments, fixed_point, moments, one_hot, solve, total

GOLDEN = "1881605ca2702ea771c3f2f494cbfaef47b9d95358e4b3d4e166ed897de2caf2"
"""Of the weights' bytes for `whole_numbers()`: the same on every machine, as nothing but IEEE 754 decides them."""


def rows(count: int, width: int = 12, outputs: int = 3, seed: int = 1) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    chance = np.random.default_rng(seed)
    features = fixed_point(chance.standard_normal((count, width)).astype(np.float32))
    return features, one_hot(chance.integers(outputs, size=count), outputs)


def whole_numbers() -> Moments:
    """Return sums over rows that no random generator and no library had a hand in."""
    features = np.array(
        [[(31 * row * row + 17 * place * row + 7 * place) % 1999 - 999 for place in range(40)] for row in range(90)]
    )
    return moments((features * 131).astype(np.int32), one_hot(np.arange(90) % 7, 7))


def same(left: Moments, right: Moments) -> bool:
    return bool((left.gram == right.gram).all() and (left.cross == right.cross).all())


def test_taking_rows_out_gives_the_sums_of_the_others_bit_for_bit_in_any_order() -> None:
    features, targets = rows(200)
    sums, chance = moments(features, targets), np.random.default_rng(3)
    gone = chance.permutation(200)[:150]
    for row in gone:
        sums -= moments(features[row : row + 1], targets[row : row + 1])
    kept = np.setdiff1d(np.arange(200), gone)
    fresh = moments(features[kept], targets[kept])
    assert same(sums, fresh)
    assert sums.rows == 50
    assert solve(sums, 0.5).tobytes() == solve(fresh, 0.5).tobytes()


def test_sums_are_those_of_whole_numbers_also_where_one_product_of_matrices_could_not_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, targets = rows(300)
    features[:] = np.int32(LARGEST * UNIT)  # the largest there are
    slow = [[sum(int(row[i]) * int(row[j]) for row in features) for j in range(2)] for i in range(2)]
    expected = moments(features, targets)
    assert expected.gram[:2, :2].tolist() == slow
    monkeypatch.setattr(page, "EXACT_ROWS", 7)
    assert same(moments(features, targets), expected)


def test_shards_change_nothing() -> None:
    features, targets = rows(100)
    parts = [moments(features[start::7], targets[start::7]) for start in range(7)]
    assert same(total(parts), moments(features, targets))


def test_the_solve_is_the_ridge_solution_with_a_free_intercept() -> None:
    features, targets = rows(120)
    x, y = features / UNIT, targets / UNIT
    centred = x - x.mean(axis=0)
    slopes = np.linalg.solve(centred.T @ centred + 2.5 * np.eye(12), centred.T @ (y - y.mean(axis=0)))
    found = solve(moments(features, targets), 2.5)
    assert found[:-1] == pytest.approx(slopes, rel=1e-10, abs=1e-12)
    assert found[-1] == pytest.approx(y.mean(axis=0) - x.mean(axis=0) @ slopes, rel=1e-10, abs=1e-12)


def test_features_of_any_condition_are_solved_within_the_bound_of_float64() -> None:
    """The residual of (A + λI)W = B relative to |A||W|: backward stable, as Cholesky is (Higham 2002, theorem 10.4)."""
    chance = np.random.default_rng(5)
    narrow = chance.standard_normal((400, 3)) @ chance.standard_normal((3, 40))  # rank 3 of 40
    features, targets = fixed_point(narrow.astype(np.float32)), one_hot(chance.integers(3, size=400), 3)
    sums = moments(features, targets)
    matrix = sums.gram / UNIT**2 + 1e-3 * np.diag([1.0] * 40 + [0.0])
    found = solve(sums, 1e-3)
    residual = np.abs(matrix @ found - sums.cross / UNIT**2).max()
    assert residual <= 4 * 41**2 * np.finfo(float).eps * np.abs(matrix).max() * np.abs(found).max()


def test_rounding_features_moves_a_head_by_no_more_than_a_millionth() -> None:
    chance = np.random.default_rng(6)
    x, y = chance.standard_normal((500, 20)).astype(np.float32), chance.integers(4, size=500)
    with_one = np.concatenate([x.astype(np.float64), np.ones((500, 1))], axis=1)
    exact = np.linalg.solve(
        with_one.T @ with_one + np.diag([1.0] * 20 + [0.0]), with_one.T @ (np.arange(4) == y[:, None])
    )
    found = solve(moments(fixed_point(x), one_hot(y, 4)), 1.0)
    assert np.abs(found - exact).max() < 1e-6


def test_the_solves_bits_are_the_same_everywhere() -> None:
    assert hashlib.sha256(solve(whole_numbers(), 1.0).tobytes()).hexdigest() == GOLDEN


def test_what_is_out_of_range_is_held_within_it_and_no_number_is_refused() -> None:
    held = fixed_point(np.array([np.inf, -np.inf, 9.0, 1.5 / UNIT, 0.5 / UNIT], np.float32))
    assert held.tolist() == [8 * UNIT, -8 * UNIT, 8 * UNIT, 2, 0]
    with pytest.raises(ValueError, match="no number"):
        fixed_point(np.array([np.nan], np.float32))


def test_without_rows_there_is_nothing_to_solve_and_with_too_many_no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = rows(9)
    with pytest.raises(ValueError, match="without a row"):
        solve(moments(features[:0], targets[:0]), 1.0)
    monkeypatch.setattr(page, "MOST_ROWS", 8)
    with pytest.raises(ValueError, match="at most 8 rows"):
        moments(features, targets)
    with pytest.raises(ValueError, match="at most 8 rows"):
        total([moments(features[:5], targets[:5]), moments(features[5:], targets[5:])])
