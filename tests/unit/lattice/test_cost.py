from __future__ import annotations

import pytest

from core.domain.model import FamilyName
from core.lattice.cost import depth_left, record_epochs, slice_epochs, struck_sets
from core.lattice.families import build_family


@pytest.mark.parametrize(
    ("name", "slices", "build", "rebuild"),
    [
        (FamilyName.SUBSET_TRIE, 3, 12, 8),
        (FamilyName.SUBSET_TRIE, 4, 32, 20),
        (FamilyName.SUBSET_TRIE, 5, 80, 48),
        (FamilyName.SUBSET_TRIE, 6, 192, 112),
        (FamilyName.CHAIN, 4, 10, 10),
    ],
)
def test_costs_agree_with_the_closed_forms(name: FamilyName, slices: int, build: int, rebuild: int) -> None:
    family = build_family(name, slices)
    assert slice_epochs(family.parents) == build
    assert slice_epochs(struck_sets(family, [0])) == rebuild


def test_merging_the_full_set_saves_three_of_four_in_the_cyclic_family() -> None:
    assert slice_epochs(build_family(FamilyName.CYCLIC, 4).parents) == 40 - 3 * 4


def test_record_epochs_count_every_record_of_every_union() -> None:
    assert record_epochs([(0,), (0, 2)], [5, 100, 7], 3) == 3 * (5 + 12)


def test_struck_sets_are_those_with_a_hit_slice() -> None:
    family = build_family(FamilyName.SUBSET_TRIE, 3)
    assert struck_sets(family, {1}) == [(1,), (0, 1), (1, 2), (0, 1, 2)]
    assert struck_sets(family, ()) == []


def test_a_shard_with_every_slice_hit_has_no_depth_left() -> None:
    family = build_family(FamilyName.SUBSET_TRIE, 3)
    assert depth_left(family, [2]) == 2
    assert depth_left(family, range(3)) == 0
