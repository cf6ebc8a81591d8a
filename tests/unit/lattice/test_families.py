from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from math import factorial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.model import BackboneRecipe, FamilyChoice, FamilyName, PriorRule, Recipe, default_family
from core.lattice.cost import depth_left, slice_epochs
from core.lattice.families import Family, build_family, choose_family, family_of
from core.lattice.planner.decay import Decay
from core.lattice.planner.question import PlanQuestion

CHANCES = st.floats(0.01, 1)


@st.composite
def families(draw: st.DrawFn) -> Family:
    name = draw(st.sampled_from(FamilyName))
    slices = draw(st.integers(1, 7))
    budget = rule = prior = None
    if name in {FamilyName.PRIOR, FamilyName.GREEDY_TRIE}:
        prior = draw(st.none() | st.lists(CHANCES, min_size=slices, max_size=slices).map(tuple))
    if name is FamilyName.PRIOR:
        rule = draw(st.none() | st.sampled_from(PriorRule))
        budget = draw(st.none() | st.integers(1, slices))
    if name is FamilyName.CYCLIC:
        budget = draw(st.none() | st.integers(1, min(factorial(slices), 60)))
    if name is FamilyName.GREEDY_TRIE:
        least = slices * (slices + 1) // 2
        budget = draw(st.none() | st.integers(least, slices * 2 ** (slices - 1)))
    return choose_family(FamilyChoice(name=name, slices=slices, budget=budget, prior=prior, rule=rule))


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
    [
        (FamilyName.CHAIN, 0, None),
        (FamilyName.CHAIN, 4, 1),
        (FamilyName.CYCLIC, 4, 0),
        (FamilyName.CYCLIC, 4, 25),
        (FamilyName.PRIOR, 4, 5),
        (FamilyName.SUBSET_TRIE, 4, 2),
        (FamilyName.SUBSET_TRIE, 11, None),
        (FamilyName.GREEDY_TRIE, 11, None),
        (FamilyName.GREEDY_TRIE, 6, 20),
        (FamilyName.GREEDY_TRIE, 6, 193),
    ],
)
def test_a_family_that_cannot_be_built_is_refused(name: FamilyName, slices: int, budget: int | None) -> None:
    with pytest.raises(ValueError, match=r"slice|budget"):
        build_family(name, slices, budget=budget)


def test_a_greedy_trie_that_may_cost_everything_is_the_subset_trie() -> None:
    everything = 6 * 2**5
    assert set(build_family(FamilyName.GREEDY_TRIE, 6, budget=everything).parents) == set(
        build_family(FamilyName.SUBSET_TRIE, 6).parents
    )


@given(st.integers(2, 8), st.integers(0, 300))
def test_a_greedy_trie_keeps_to_its_budget(slices: int, more: int) -> None:
    budget = min(slices * (slices + 1) // 2 + more, slices * 2 ** (slices - 1))
    assert slice_epochs(build_family(FamilyName.GREEDY_TRIE, slices, budget=budget).parents) <= budget


def published_area(name: FamilyName, slices: int, budget: int | None) -> float:
    """The active share of five shards, on average over the first three deletions per slice."""
    decay = Decay(PlanQuestion(shards=5, family=FamilyChoice(name=name, slices=slices, budget=budget)))
    return sum(decay.active_share(deletions) for deletions in range(15 * slices)) / (15 * slices)


def test_at_eight_slices_a_greedy_trie_is_worth_an_eighth_more_than_rotations_and_half_of_it_as_much() -> None:
    rotations = published_area(FamilyName.CYCLIC, 8, None)
    assert rotations == pytest.approx(0.253, abs=0.004)
    assert published_area(FamilyName.GREEDY_TRIE, 8, 288) == pytest.approx(0.285, abs=0.004)
    assert published_area(FamilyName.GREEDY_TRIE, 8, 143) == pytest.approx(0.259, abs=0.005)
    assert published_area(FamilyName.SUBSET_TRIE, 8, None) == pytest.approx(0.319, abs=0.004)
    assert published_area(FamilyName.GREEDY_TRIE, 8, 288) > 1.12 * rotations
    assert published_area(FamilyName.GREEDY_TRIE, 8, 143) > rotations


def test_the_default_family_is_the_one_that_pays() -> None:
    assert default_family(5) is FamilyName.SUBSET_TRIE
    assert default_family(6) is FamilyName.GREEDY_TRIE
    assert default_family(11) is FamilyName.CYCLIC  # the sets of a trie are too many to be compared


def test_a_recipe_keeps_its_prior_through_the_database_and_gives_the_same_family() -> None:
    recipe = Recipe(
        shards=2,
        slices=4,
        family=FamilyName.PRIOR,
        family_budget=2,
        family_prior=(4.0, 3.0, 2.0, 1.0),
        family_rule=PriorRule.MATCHING,
        family_horizon=100,
        backbone=BackboneRecipe(layers=4),
    )
    read = Recipe.from_json(json.loads(json.dumps(recipe.as_json())))
    assert read == recipe
    assert family_of(read).parents == family_of(recipe).parents != build_family(FamilyName.PRIOR, 4, budget=2).parents


def test_a_recipe_from_before_there_were_priors_is_read() -> None:
    written = Recipe(shards=2, slices=4).as_json()
    old = {
        name: value for name, value in written.items() if name not in {"family_prior", "family_rule", "family_horizon"}
    }
    assert Recipe.from_json(old) == Recipe(shards=2, slices=4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family_prior": (1.0, 2.0)}, "2 numbers, and a shard has 4 slices"),
        ({"family_prior": (1.0, 2.0, 0.0, 1.0)}, "positive"),
        ({"family_prior": (1.0, 2.0, float("nan"), 1.0)}, "positive"),
        ({"family": FamilyName.CYCLIC, "family_prior": (1.0,) * 4}, "take a prior"),
        ({"family": FamilyName.CYCLIC, "family_rule": PriorRule.MATCHING}, "takes a rule"),
        ({"family_rule": PriorRule.COLD_FIRST, "family_horizon": 10}, "takes a horizon"),
        ({"family_horizon": 10}, "takes a horizon"),
        ({"family_budget": 2, "family_horizon": 0}, "must lie in 1..1000"),
    ],
)
def test_parameters_that_do_not_fit_the_family_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(Recipe(shards=2, slices=4, family=FamilyName.PRIOR), **change)
