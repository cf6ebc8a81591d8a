from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import TooFewOwners
from core.lattice.occupancy import occupancy, propose
from core.lattice.placement import Place


def test_owners_and_records_are_counted_where_they_sit() -> None:
    found = occupancy([Place(0, 0), Place(0, 0), Place(1, 1)], 2, 2, records=[5, 1, 7])
    assert found.owners == ((2, 0), (0, 1))
    assert found.records == ((6, 0), (0, 7))
    assert found.mean_owners == 0.75
    assert found.minimum_owners == 0
    assert found.empty_slices == (Place(0, 1), Place(1, 0))
    assert not found.sufficient


def test_three_owners_in_every_slice_suffice() -> None:
    found = occupancy([Place(0, number % 2) for number in range(6)], 1, 2)
    assert found.sufficient
    assert found.records == found.owners == ((3, 3),)


def test_a_place_outside_the_lattice_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        occupancy([Place(2, 0)], 2, 2)


def test_records_are_given_for_every_owner_or_for_none() -> None:
    with pytest.raises(ValueError, match="shorter"):
        occupancy([Place(0, 0), Place(0, 1)], 2, 2, records=[1])


@pytest.mark.parametrize(
    ("owners", "proposal"), [(3, (1, 1)), (11, (1, 3)), (12, (1, 4)), (23, (1, 4)), (24, (2, 4)), (10**6, (1024, 4))]
)
def test_the_biggest_lattice_with_three_owners_per_slice_is_proposed(owners: int, proposal: tuple[int, int]) -> None:
    assert propose(owners) == proposal


@given(st.integers(3, 100_000), st.integers(1, 12))
def test_a_proposal_can_always_be_filled(owners: int, slices: int) -> None:
    shards, proposed = propose(owners, slices)
    assert owners >= 3 * shards * proposed
    assert proposed <= slices


def test_two_owners_fill_no_lattice() -> None:
    with pytest.raises(TooFewOwners):
        propose(2)
