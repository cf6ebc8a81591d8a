"""Checkpoints as they are meant: shapes by architecture, recipes and manifests that read back as they were written."""

from __future__ import annotations

import math

import pytest

from core.domain.checkpoint import (
    Architecture,
    ArchitectureKind,
    CheckpointManifest,
    CheckpointRecipe,
    Stage,
    Training,
)
from core.domain.task import Modality
from core.modelling.checkpoint_networks import build

PERCEPTRON = Architecture(kind=ArchitectureKind.PERCEPTRON, inputs=(5,), outputs=3, hidden=(7, 4))
FLATTENED = Architecture(kind=ArchitectureKind.PERCEPTRON, inputs=(2, 3, 5), outputs=3, hidden=(7,))
CONVOLUTIONAL = Architecture(
    kind=ArchitectureKind.CONVOLUTIONAL, inputs=(1, 7, 8), outputs=10, channels=(4, 6), hidden=(16,)
)


@pytest.mark.parametrize("architecture", [PERCEPTRON, FLATTENED, CONVOLUTIONAL])
def test_the_shapes_that_are_checked_without_torch_are_those_of_the_network(architecture: Architecture) -> None:
    import torch

    network = build(architecture, Modality.CLASSIFIER)
    assert {name: tuple(one.shape) for name, one in network.state_dict().items()} == dict(architecture.shapes())
    answer = network(torch.zeros(2, *architecture.inputs))
    assert tuple(answer.shape) == (2, architecture.outputs)
    assert Architecture.from_json(architecture.as_json()) == architecture


def test_a_recipe_reads_back_and_its_digest_leaves_out_what_a_retrain_does_not_depend_on() -> None:
    stages = (Stage(name="pretraining", data="0" * 64), Stage(name="fine_tuning", data="1" * 64))
    recipe = CheckpointRecipe(
        modality=Modality.CLASSIFIER,
        architecture=PERCEPTRON,
        training=Training(epochs=3, learning_rate=0.1),
        stages=stages,
        file_digest="2" * 64,
        evaluation="dts_x",
    )
    again = CheckpointRecipe.from_json(recipe.as_json())
    assert (again, again.digest(), again.staged) == (recipe, recipe.digest(), True)
    moved = CheckpointRecipe.from_json(recipe.as_json() | {"evaluation": None})
    assert moved.digest() == recipe.digest()
    retold = CheckpointRecipe.from_json(recipe.as_json() | {"stages": recipe.as_json()["stages"][:1]})
    assert retold.digest() != recipe.digest()


def test_a_manifest_reads_back_and_a_lattice_s_is_refused() -> None:
    manifest = CheckpointManifest(recipe="a", stage_history="b", tensors="c", made_by="scrub", run="d")
    assert CheckpointManifest.from_json(manifest.as_json()) == manifest
    with pytest.raises((KeyError, ValueError)):
        CheckpointManifest.from_json({"v": 1, "nodes": []})


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 0}, {"weight_decay": -1.0}])
def test_a_training_refuses_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Training(**{"epochs": 1, "learning_rate": 0.1} | wrong)  # type: ignore[arg-type]


def test_a_network_needs_what_its_kind_needs() -> None:
    with pytest.raises(ValueError, match="channels"):
        Architecture(kind=ArchitectureKind.CONVOLUTIONAL, inputs=(1, 8, 8), outputs=2)
    with pytest.raises(ValueError, match="no channels"):
        Architecture(kind=ArchitectureKind.PERCEPTRON, inputs=(8,), outputs=2, channels=(4,))
    assert math.prod(FLATTENED.inputs) == FLATTENED.shapes()["1.weight"][1]
