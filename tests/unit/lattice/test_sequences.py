from __future__ import annotations

from itertools import permutations
from math import factorial, inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.model import FamilyName
from core.lattice.families.cyclic import cyclic_sequences
from core.lattice.families.family import Family
from core.lattice.families.matching import heaviest_matching
from core.lattice.families.prior import (
    cold_first,
    cold_first_sequences,
    matching_sequences,
    normalised,
    score,
)
from core.lattice.families.sequences import Sequence, merged_prefixes
from core.lattice.hits import after_one_more, as_mask
from core.lattice.planner.decay import depth_left_by_mask

PRIORS = st.lists(st.floats(0.001, 1), min_size=1, max_size=12).map(lambda weights: normalised(weights, len(weights)))


def no_position_twice(sequences: list[Sequence]) -> bool:
    return all(len(set(column)) == len(sequences) for column in zip(*sequences, strict=True))


@given(PRIORS, st.sampled_from([1, 10, 100]))
def test_matching_gives_a_latin_square(chances: list[float], horizon: int) -> None:
    sequences = matching_sequences(chances, horizon)
    assert len(sequences) == len(chances)
    assert all(sorted(sequence) == list(range(len(chances))) for sequence in sequences)
    assert no_position_twice(sequences)
    scores = [score(sequence, chances, horizon) for sequence in sequences]
    assert scores == sorted(scores, reverse=True)


@given(st.integers(1, 16), st.data())
def test_rotations_never_repeat_a_position(slices: int, data: st.DataObject) -> None:
    sequences = cyclic_sequences(slices, data.draw(st.integers(1, slices)))
    assert no_position_twice(sequences)
    assert all(sorted(sequence) == list(range(slices)) for sequence in sequences)


@given(st.integers(1, 6), st.data())
def test_more_sequences_than_slices_are_different_and_their_children_spread_over_all_parents(
    slices: int, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, factorial(slices)))
    sequences = cyclic_sequences(slices, budget)
    assert len(set(sequences)) == len(sequences) == budget
    assert all(sorted(sequence) == list(range(slices)) for sequence in sequences)
    tops = [sum(sequence[0] == number for sequence in sequences) for number in range(slices)]
    assert max(tops) - min(tops) <= 1


def test_all_sequences_are_reached_at_last() -> None:
    assert set(cyclic_sequences(4, 24)) == set(permutations(range(4)))


def test_cold_first_sequences_move_one_hot_slice_each_to_the_end() -> None:
    chances = normalised([4, 1, 3, 2], 4)
    assert cold_first(chances) == [1, 3, 2, 0]
    assert cold_first_sequences(chances, 3) == [(1, 3, 2, 0), (1, 3, 0, 2), (1, 2, 0, 3)]


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_the_matching_is_the_heaviest(size: int, seed: int) -> None:
    source = Random(seed)
    weights = [[source.choice([0.0, 1.0, source.random()]) for _ in range(size)] for _ in range(size)]
    found = heaviest_matching(weights)
    assert sorted(found) == list(range(size))
    best = max(sum(weights[row][column] for row, column in enumerate(chosen)) for chosen in permutations(range(size)))
    assert sum(weights[row][column] for row, column in enumerate(found)) == pytest.approx(best)


def test_what_may_not_be_matched_is_not() -> None:
    assert heaviest_matching([[5.0, 1.0], [4.0, -inf]]) == [1, 0]


def served_depth(sequences: list[Sequence], chances: list[float]) -> float:
    """The mean depth of a shard after 1, 2, 4, 8 and 16 hits, as the published table has it."""
    depth = depth_left_by_mask(Family(FamilyName.CYCLIC, len(chances), merged_prefixes(sequences)))
    now, total = [1.0] + [0.0] * (2 ** len(chances) - 1), 0.0
    for hits in range(1, 17):
        now = after_one_more(now, chances)
        if hits in {1, 2, 4, 8, 16}:
            total += sum(chance * depth(mask) for mask, chance in enumerate(now)) / 5
    return total


def adjacent(slices: int, count: int) -> list[Sequence]:
    return [tuple((start + step) % slices for step in range(slices)) for start in range(count)]


@pytest.mark.parametrize(
    ("concentration", "count", "published"),
    [
        (1.0, 2, {"adjacent": 2.20, "spaced": 2.70, "t1": 3.14, "t10": 3.52, "t100": 3.43, "chain": 3.19, "hot": 3.26}),
        (1.0, 4, {"adjacent": 3.03, "spaced": 3.54, "t1": 3.69, "t10": 4.03, "t100": 3.96, "chain": 3.34, "hot": 3.63}),
        (1.0, 8, {"adjacent": 3.85, "spaced": 3.85, "t1": 3.98, "t10": 4.11, "t100": 4.09, "chain": 3.22, "hot": 4.29}),
        (0.3, 8, {"adjacent": 4.74, "spaced": 4.75, "t1": 4.74, "t10": 5.18, "t100": 5.15, "chain": 4.71, "hot": 5.34}),
    ],
)
def test_served_depth_under_skew_is_that_of_the_published_table(
    concentration: float, count: int, published: dict[str, float]
) -> None:
    source = Random(7)
    sums = dict.fromkeys(published, 0.0)
    priors = 60
    for _ in range(priors):
        chances = normalised([source.gammavariate(concentration, 1) + 1e-9 for _ in range(8)], 8)
        designs = {
            "adjacent": adjacent(8, count),
            "spaced": cyclic_sequences(8, count),
            "t1": matching_sequences(chances, 1)[:count],
            "t10": matching_sequences(chances, 10)[:count],
            "t100": matching_sequences(chances, 100)[:count],
            "chain": cold_first_sequences(chances, 1),
            "hot": cold_first_sequences(chances, count),
        }
        for name, sequences in designs.items():
            sums[name] += served_depth(sequences, chances) / priors
    # Both are means over some dozens of priors drawn at random; single priors differ by a whole slice.
    assert sums == pytest.approx(published, abs=0.25)
    assert sums["t10"] > sums["spaced"]
    assert sums["t1"] < sums["t10"]
    if count == 8:
        assert sums["hot"] > 1.01 * sums["t10"]


def test_served_depth_under_zipf_is_that_of_the_published_table() -> None:
    chances = normalised([1 / rank for rank in range(1, 9)], 8)
    found = {
        "spaced": served_depth(cyclic_sequences(8, 4), chances),
        "t10": served_depth(matching_sequences(chances, 10)[:4], chances),
        "t100": served_depth(matching_sequences(chances, 100)[:4], chances),
        "chain": served_depth(cold_first_sequences(chances, 1), chances),
        "hot": served_depth(cold_first_sequences(chances, 4), chances),
    }
    published = {"spaced": 3.51, "t10": 3.57, "t100": 3.60, "chain": 2.80, "hot": 2.99}
    assert found == pytest.approx(published, abs=0.05)


def test_masks_and_sets_are_each_others_inverse() -> None:
    from core.lattice.hits import as_set

    assert all(as_mask(as_set(mask)) == mask for mask in range(64))
