"""The harness of the deletion streams: rivals are charged what their policies take, and serve nothing that saw who left."""

from __future__ import annotations

import pytest
import torch

from benchmarks.exact.data import Problem, fashion
from benchmarks.exact.policies import Rival, lethe, published_s3t, sisa_retrain, sisa_serve_prefix
from benchmarks.exact.race import race, row, voted
from benchmarks.exact.world import World, asked, draw_owners
from core.domain.model import NodeRecipe, Recipe
from core.modelling.ensemble import Ensemble

RECIPE = Recipe(shards=2, slices=4, node=NodeRecipe(rank=2, epochs=1))
AMPLE = 1000.0


@pytest.fixture(scope="module")
def problem() -> Problem:
    return fashion(images=160, each=2, public=40, held_out=30, epochs=1, quick=True)


@pytest.fixture
def world(problem: Problem) -> World:
    return World(problem, RECIPE)


def forget(world: World, rival: Rival, count: int, credit: float) -> list[float]:
    """Have so many owners leave; return the active share after each hit."""
    shares = []
    for owner in draw_owners(world, count, seed=1):
        where = world.forget(owner)
        rival.lattice.hit(where)
        shares.append(rival.lattice.active_share)
        rival.repair(where, credit)
    return shares


def test_our_vote_is_that_of_the_products_ensemble(world: World) -> None:
    rival = lethe(world)
    forget(world, rival, 3, credit=0.0)
    served = rival.lattice.served
    whole = Ensemble.build(world.problem.backbone, [[world.chain(key) for key in keys] for keys in served], RECIPE.node)
    assert torch.allclose(voted(world, rival), asked(whole, world.problem.held_out.inputs), atol=1e-5)


def test_a_node_that_is_trained_after_deletions_elsewhere_is_the_same_to_the_bit(problem: Problem) -> None:
    early, late = World(problem, RECIPE), World(problem, RECIPE)
    trained = {key: early.chain(key)[-1] for keys in lethe(early).lattice.served for key in keys}
    rival = lethe(late)
    forget(late, rival, 4, credit=0.0)
    for key, tensors in trained.items():
        # Long dead, and still what it would have been: its rows are those behind its roots.
        assert all(torch.equal(tensors[name], found) for name, found in late.chain(key)[-1].items())


@pytest.mark.parametrize("make", [published_s3t, sisa_serve_prefix, sisa_retrain, lethe])
def test_nobody_serves_a_node_that_learned_a_slice_as_it_was_before_a_deletion(world: World, make: object) -> None:
    rival = make(world)  # type: ignore[operator]
    forget(world, rival, 20, credit=3.0)
    served = {key for keys in rival.lattice.served for key in keys}
    assert served
    for key in served:
        node = rival.lattice.live[key]
        assert node.slice_roots == world.ground(node.shard).roots_of(node.slices)


def test_the_published_policy_builds_anew_when_all_is_dead_and_pays_for_every_rotation(world: World) -> None:
    rival = published_s3t(world)
    shares = forget(world, rival, 60, credit=AMPLE)
    assert rival.build_charge == 2 * 4 * 10
    deaths = shares.count(0.0)
    assert deaths
    assert rival.lattice.charged == deaths * rival.build_charge


def test_with_ample_credit_sisa_and_we_are_whole_again_after_every_deletion(world: World, problem: Problem) -> None:
    for rival, its in ((sisa_retrain(world), world), (lethe(other := World(problem, RECIPE)), other)):
        forget(its, rival, 10, credit=AMPLE)
        assert rival.lattice.active_share == 1.0


@pytest.mark.parametrize("make", [sisa_retrain, lethe])
def test_nobody_spends_more_than_was_credited(world: World, make: object) -> None:
    rival = make(world)  # type: ignore[operator]
    forget(world, rival, 30, credit=2.8)
    assert 0.8 * 30 * 2.8 < rival.lattice.charged <= 30 * 2.8


def test_we_keep_more_active_than_the_published_policy_for_the_same_training(world: World) -> None:
    laps, facts = race(world, [(published_s3t, 2.8), (lethe, 2.8)], deletions=40, look_every=20)
    published, ours = (row(lap, facts["accuracy_undeleted_ensemble"]) for lap in laps)
    assert ours["active after hit"] > published["active after hit"]
    assert facts["records_after"] == facts["records_before"] - 80
