"""Which node to buy next: what saves most depth for its cost, stepping stones included."""

from __future__ import annotations

import pytest

from core.domain.model import FamilyChoice, FamilyName
from core.lattice.families import build_family, choose_family
from core.unlearning.exact.worth import worth_of_missing

TRIE = build_family(FamilyName.SUBSET_TRIE, 4)
FULL = (0, 1, 2, 3)


def clean_without(*hit: int) -> list[tuple[int, ...]]:
    return [slices for slices in TRIE.parents if not set(hit) & set(slices)]


def test_worth_is_the_expected_gain_over_the_cost_of_all_that_is_missing_below() -> None:
    clean = [*clean_without(0), FULL]
    worth = worth_of_missing(TRIE, clean, [slices for slices in TRIE.parents if 0 in slices])
    # {0,1,2} serves depth 3 instead of 2 when slice 3 is hit, chance 1/4, and {0} and {0,1} have to be there before.
    assert worth[0, 1, 2] == pytest.approx(1 / 4 / (1 + 2 + 3))
    # {0,3} serves depth 2 instead of 1 when slices 1 and 2 are hit, chance 2/16.
    assert worth[0, 3] == pytest.approx(2 / 16 / (1 + 2))
    assert 0 < worth[FULL] < 1e-6


def test_hits_are_expected_where_the_registered_prior_says() -> None:
    choice = FamilyChoice(name=FamilyName.GREEDY_TRIE, slices=2, prior=(3.0, 1.0))
    worth = worth_of_missing(choose_family(choice), [(0, 1)], [(0,), (1,)])
    # {1} serves when slice 0 is hit, chance 3/4; {0} when slice 1 is, chance 1/4.
    assert worth[1,] == pytest.approx(3 / 4)
    assert worth[0,] == pytest.approx(1 / 4)


def test_a_stepping_stone_is_worth_what_stands_on_it() -> None:
    clean = [*clean_without(0), FULL]
    worth = worth_of_missing(TRIE, clean, [slices for slices in TRIE.parents if 0 in slices])
    assert worth[0,] >= worth[0, 1] >= worth[0, 1, 2]


def test_the_worth_of_one_node_is_its_expected_depth_per_slice() -> None:
    chain = build_family(FamilyName.CHAIN, 2)
    worth = worth_of_missing(chain, [], [(0,), (0, 1)])
    # {0} serves depth 1 when slice 1 is hit: chance 1/2 for cost 1. {0,1} saves nothing once it is hit itself.
    assert worth[0,] == pytest.approx(0.5, abs=1e-6)
    assert 0 < worth[0, 1] < 1e-6


def test_what_brings_e2_comes_first_among_nodes_that_save_nothing() -> None:
    chain = build_family(FamilyName.CHAIN, 3)
    worth = worth_of_missing(chain, [(0,), (0, 1)], [(0, 1, 2)])
    assert worth[0, 1, 2] > 0


def test_large_families_are_judged_by_single_hits_in_time() -> None:
    family = build_family(FamilyName.CYCLIC, 32)
    worth = worth_of_missing(family, [], list(family.parents))
    assert len(worth) == len(family.parents)
