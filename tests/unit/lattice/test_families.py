from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.model import FamilyName
from core.lattice.cost import depth_left
from core.lattice.families import Family, build_family


@st.composite
def families(draw: st.DrawFn) -> Family:
    name = draw(st.sampled_from(FamilyName))
    slices = draw(st.integers(1, 8))
    budget = draw(st.none() | st.integers(1, slices)) if name is FamilyName.CYCLIC else None
    return build_family(name, slices, budget=budget)


@given(families())
def test_every_parent_is_in_the_family_and_one_slice_smaller(family: Family) -> None:
    for slices, parent in family.parents.items():
        assert slices == tuple(sorted(set(slices)))
        assert parent == () or parent in family.parents
        assert set(parent) < set(slices)
        assert len(parent) == len(slices) - 1


@given(families())
def test_parents_come_before_children(family: Family) -> None:
    order = list(family.by_depth())
    assert sorted(order) == sorted(family.parents)
    position = {slices: number for number, slices in enumerate(order)}
    assert all(position[parent] < position[slices] for slices, parent in family.parents.items() if parent)


@given(families())
def test_every_family_reaches_full_depth_while_nothing_is_hit(family: Family) -> None:
    assert tuple(range(family.slices)) in family.parents


@pytest.mark.parametrize("slices", range(1, 7))
def test_a_subset_trie_keeps_every_slice_that_was_not_hit(slices: int) -> None:
    family = build_family(FamilyName.SUBSET_TRIE, slices)
    assert len(family.parents) == 2**slices - 1
    for count in range(slices + 1):
        for hits in combinations(range(slices), count):
            assert depth_left(family, hits) == slices - count


@pytest.mark.parametrize("slices", range(1, 9))
def test_the_full_cyclic_family_has_every_prefix_of_every_rotation(slices: int) -> None:
    family = build_family(FamilyName.CYCLIC, slices)
    for start in range(slices):
        rotation = [(start + step) % slices for step in range(slices)]
        assert all(tuple(sorted(rotation[:depth])) in family.parents for depth in range(1, slices + 1))
    assert len(family.parents) == slices * (slices - 1) + 1


def test_fewer_rotations_start_evenly_spaced() -> None:
    family = build_family(FamilyName.CYCLIC, 4, budget=2)
    assert dict(family.parents) == {
        (0,): (), (0, 1): (0,), (0, 1, 2): (0, 1), (0, 1, 2, 3): (0, 1, 2),
        (2,): (), (2, 3): (2,), (0, 2, 3): (2, 3),
    }  # fmt: skip
    assert sum(depth_left(family, [hit]) for hit in range(4)) / 4 == 2.5  # published for spaced starts; 2.25 adjacent


def test_a_chain_has_one_set_of_each_depth() -> None:
    family = build_family(FamilyName.CHAIN, 5)
    assert list(family.by_depth()) == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    assert depth_left(family, [0]) == 0
    assert depth_left(family, [4]) == 4


@pytest.mark.parametrize(
    ("name", "slices", "budget"),
    [(FamilyName.CHAIN, 0, None), (FamilyName.CHAIN, 4, 1), (FamilyName.CYCLIC, 4, 0), (FamilyName.CYCLIC, 4, 5)],
)
def test_a_family_that_cannot_be_built_is_refused(name: FamilyName, slices: int, budget: int | None) -> None:
    with pytest.raises(ValueError, match=r"slice|budget"):
        build_family(name, slices, budget=budget)
