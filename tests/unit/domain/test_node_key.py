"""Whatever could move a bit of a node is in its key: a stale node is never taken for a fresh one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from core.domain.manifest import node_key
from core.domain.model import NodeRecipe, Precision, Recipe

INPUTS: dict[str, Any] = {
    "trainer_protocol": 1,
    "backbone": "b" * 64,
    "recipe": "r" * 64,
    "shard": 0,
    "slices": [0, 2],
    "slice_roots": ["0" * 64, "2" * 64],
    "parent": "p" * 64,
}
OTHERS: dict[str, Any] = {
    "trainer_protocol": 2,
    "backbone": "c" * 64,
    "recipe": "s" * 64,
    "shard": 1,
    "slices": [0, 1],
    "slice_roots": ["0" * 64, "3" * 64],
    "parent": None,
}
OTHER_NUMBERS: dict[str, Any] = {
    "rank": 4,
    "alpha": 8.0,
    "epochs": 9,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-3,
    "weight_decay": 0.1,
    "precision": Precision.BFLOAT16,
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_of_a_node_is_in_its_key(name: str) -> None:
    assert node_key(**{**INPUTS, name: OTHERS[name]}) != node_key(**INPUTS)


@pytest.mark.parametrize("name", [field.name for field in fields(NodeRecipe)])
def test_every_number_of_the_recipe_is_in_its_digest_and_so_in_every_key(name: str) -> None:
    recipe = Recipe(shards=2, slices=3)
    changed = replace(recipe, node=replace(recipe.node, **{name: OTHER_NUMBERS[name]}))
    assert changed.digest() != recipe.digest()


def test_the_number_of_slices_is_in_the_digest_because_it_divides_the_layers() -> None:
    assert Recipe(shards=2, slices=3).digest() != Recipe(shards=2, slices=4).digest()
