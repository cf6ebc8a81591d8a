"""The exactness of nodes does not depend on what rows are made of: the same properties, on a table."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from core.domain.model import BackboneRecipe, FamilyName
from core.domain.task import TaskName
from core.lattice.families import build_family
from core.modelling.backbone import Backbone
from core.modelling.ensemble import Ensemble
from core.modelling.tabular_transformer import TabularTransformerShape
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.backbone import backbone_digest, drawn, pretrain, public_logits
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.training import TrainedNode, train_node
from tests.unit.unlearning.tiny import SLICES, chain_of, make_ground, make_recipe

COUNTS = (5, 3, 6, 4)
TASKS = (TaskName.CLASSIFICATION, TaskName.REGRESSION)
Built = dict[tuple[int, ...], TrainedNode]


def make_shape(task: TaskName) -> TabularTransformerShape:
    outputs = 2 if task is TaskName.CLASSIFICATION else 1
    recipe = BackboneRecipe(width=16, layers=4, heads=2)
    return TabularTransformerShape.from_recipe(recipe, numbers=2, categories=(3,), outputs=outputs, task=task)


def rows(count: int, seed: int, task: TaskName) -> tuple[Tensor, Tensor]:
    """Return cells, some of them empty, and what follows from the first of them."""
    chance = torch.Generator().manual_seed(seed)
    numbers = 2 * torch.rand((count, 2), generator=chance) - 1
    codes = torch.randint(3, (count, 1), generator=chance).to(torch.float32)
    target = (numbers[:, 0] > 0).to(torch.int64) if task is TaskName.CLASSIFICATION else numbers[:, 0].clone()
    numbers[1::4, 1] = float("nan")
    return torch.cat((numbers, codes), dim=1), target


@cache
def backbone(task: TaskName, *, public: bool = True) -> Backbone:
    shape = make_shape(task)
    if not public:
        return shape.backbone(drawn(shape, seed=3))
    recipe = BackboneRecipe(width=16, layers=4, heads=2, epochs=2)
    return shape.backbone(pretrain(*rows(32, 1, task), shape, recipe, seed=7))


def make_slices(
    task: TaskName, counts: tuple[int, ...] = COUNTS, *, without: tuple[int, int] | None = None
) -> dict[int, SliceRecords]:
    slices = {}
    for number, count in enumerate(counts):
        names = [f"{number}/{position}".encode() for position in range(count)]
        references = np.array([list(hashlib.sha256(name).digest()) for name in names], np.uint8).reshape(-1, 32)
        inputs, targets = rows(count, 100 + number, task)
        kept = np.array([(number, position) != without for position in range(count)], dtype=bool)
        slices[number] = SliceRecords.sorted_by_reference(
            number, references[kept], references[kept], inputs=inputs[kept], targets=targets[kept]
        )
    return slices


def build(task: TaskName, slices: dict[int, SliceRecords], *, public: bool = True, epochs: int = 2) -> Built:
    recipe = make_recipe(family=FamilyName.SUBSET_TRIE, epochs=epochs)
    family = build_family(recipe.family, SLICES)
    activations = SliceActivations(backbone(task, public=public), slices)
    nodes: Built = {}
    for spec in canonical_nodes(family, make_ground(slices, recipe)):
        parents = chain_of(nodes, family, family.parents[spec.slices])
        nodes[spec.slices] = train_node(spec, activations=activations, parents=parents, recipe=recipe)
    return nodes


@pytest.mark.parametrize("task", TASKS)
def test_dropping_a_record_moves_no_bit_of_nodes_that_never_saw_its_slice(task: TaskName) -> None:
    before, after = build(task, make_slices(task)), build(task, make_slices(task, without=(1, 2)))
    moved = {slices for slices in before if before[slices].tensor_digest != after[slices].tensor_digest}
    assert moved == {slices for slices in before if 1 in slices}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("public", [True, False], ids=["public rows", "no public row"])
def test_nodes_learn_also_on_a_backbone_that_learned_nothing(task: TaskName, *, public: bool) -> None:
    nodes = build(task, make_slices(task, (24, 24, 24, 24)), public=public, epochs=12)
    inputs, targets = rows(300, 900, task)
    recipe = make_recipe(family=FamilyName.SUBSET_TRIE)
    family = build_family(recipe.family, SLICES)
    chain = chain_of(nodes, family, (0, 1, 2, 3))
    answers = Ensemble.build(backbone(task, public=public), [[chain]], recipe.node).logits(inputs)
    if task is TaskName.CLASSIFICATION:
        assert (answers.argmax(dim=1) == targets).float().mean().item() > 0.85
    else:
        assert (answers[:, 0] - targets).square().mean().item() < 0.25 * targets.var().item()


@pytest.mark.parametrize("task", TASKS)
def test_a_drawn_backbone_is_its_seeds_and_its_public_head_is_silent(task: TaskName) -> None:
    shape = make_shape(task)
    digests = [backbone_digest(drawn(shape, seed=seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert not public_logits(backbone(task, public=False), rows(5, 1, task)[0]).any()
