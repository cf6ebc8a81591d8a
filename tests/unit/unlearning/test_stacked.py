"""Nodes trained together: what each would be alone, to rounding; those who have less to do stand still when they are done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.domain.model import FamilyName, Precision, Recipe
from core.lattice.families import build_family
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.stacked import train_nodes
from core.unlearning.exact.training import TrainedNode
from tests.unit.unlearning.tiny import SLICES, backbone, build_shard, chain_of, make_ground, make_recipe, make_slices

TOLERANCE = 1e-4
"""Largest distance of any tensor from the one trained alone, relative to its norm. Measured here: below 2e-6."""
COUNTS = (5, 0, 9, 4)
"""One slice is empty, and nodes of one depth have different numbers of steps."""
RECIPE = make_recipe(family=FamilyName.SUBSET_TRIE)


def together(alone: dict[tuple[int, ...], TrainedNode], recipe: Recipe) -> dict[tuple[int, ...], TrainedNode]:
    """Train every depth of a shard in one pass, each on the parents that were trained alone."""
    family, slices = build_family(recipe.family, SLICES), make_slices(COUNTS)
    activations = SliceActivations(backbone(), slices)
    found: dict[tuple[int, ...], TrainedNode] = {}
    for depth in range(1, SLICES + 1):
        specs = [spec for spec in canonical_nodes(family, make_ground(slices, recipe)) if spec.depth == depth]
        parents = [chain_of(alone, family, family.parents[spec.slices]) for spec in specs]
        trained = train_nodes(specs, activations=activations, parents=parents, recipe=recipe)
        found |= {spec.slices: node for spec, node in zip(specs, trained, strict=True)}
    return found


def test_nodes_trained_together_are_those_trained_alone_within_rounding() -> None:
    alone = build_shard(make_slices(COUNTS), RECIPE)
    stacked = together(alone, RECIPE)
    assert set(stacked) == set(alone)
    for slices, node in alone.items():
        other = stacked[slices]
        assert (other.data_digest, other.records, other.epochs) == (node.data_digest, node.records, node.epochs)
        for name, tensor in node.tensors.items():
            distance = float((other.tensors[name] - tensor).norm()) / max(float(tensor.norm()), 1e-6)
            assert distance <= TOLERANCE, (slices, name, distance)
    assert stacked[1,].tensor_digest == alone[1,].tensor_digest, "an empty slice trains nothing"


def test_a_node_together_with_itself_alone_is_no_function_of_its_neighbours_records() -> None:
    """Who is stacked beside a node may move its rounding, and no more: a neighbour's records must not reach it."""
    slices, family = make_slices(), build_family(RECIPE.family, SLICES)
    specs = [spec for spec in canonical_nodes(family, make_ground(slices, RECIPE)) if spec.depth == 1]
    changed = make_slices()
    changed[2] = replace(changed[2], inputs=changed[2].inputs + 0.5)
    first, second = (
        train_nodes(specs, activations=SliceActivations(backbone(), held), parents=[[]] * 4, recipe=RECIPE)
        for held in (slices, changed)
    )
    same = [one.tensor_digest == other.tensor_digest for one, other in zip(first, second, strict=True)]
    assert same == [True, True, False, True]


def test_nodes_of_different_depths_are_not_trained_together() -> None:
    specs = canonical_nodes(build_family(RECIPE.family, SLICES), make_ground(make_slices(), RECIPE))
    with pytest.raises(ValueError, match="one depth"):
        train_nodes(specs, activations=SliceActivations(backbone(), make_slices()), parents=[], recipe=RECIPE)


def test_in_bfloat16_a_cpu_gives_one_result_and_another_one_than_in_float32() -> None:
    recipe = replace(RECIPE, node=replace(RECIPE.node, precision=Precision.BFLOAT16))
    assert recipe.digest() != RECIPE.digest()
    plain, one, other = (build_shard(make_slices(), each) for each in (RECIPE, recipe, recipe))
    for slices, node in one.items():
        assert node.tensor_digest == other[slices].tensor_digest != plain[slices].tensor_digest
        assert all(tensor.dtype is torch.float32 for tensor in node.tensors.values())
