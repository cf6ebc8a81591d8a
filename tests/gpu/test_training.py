"""Nodes trained on a GPU: what a CPU gives, to rounding; the environment says where they were trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.domain.model import FamilyName, Precision
from core.lattice.families import build_family
from core.modelling.determinism import device_of, environment, pinned
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.stacked import train_nodes
from core.unlearning.exact.training import train_node
from tests.unit.unlearning.tiny import SLICES, backbone, build_shard, chain_of, make_ground, make_recipe, make_slices

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]
RECIPE = make_recipe(family=FamilyName.SUBSET_TRIE)
TOLERANCE = 5e-3


def on_gpu() -> SliceActivations:
    pinned(1)
    return SliceActivations(backbone(), make_slices(), device=device_of("cuda"))


@pytest.mark.parametrize("precision", Precision)
def test_stacked_on_a_gpu_every_depth_is_what_a_cpu_gives_within_rounding(precision: Precision) -> None:
    recipe = replace(RECIPE, node=replace(RECIPE.node, precision=precision))
    tolerance = TOLERANCE if precision is Precision.FLOAT32 else 0.2
    alone = build_shard(make_slices(), recipe)
    family = build_family(recipe.family, SLICES)
    specs = canonical_nodes(family, make_ground(make_slices(), recipe))
    for depth in range(1, SLICES + 1):
        mine = [spec for spec in specs if spec.depth == depth]
        parents = [chain_of(alone, family, family.parents[spec.slices]) for spec in mine]
        for spec, node in zip(
            mine, train_nodes(mine, activations=on_gpu(), parents=parents, recipe=recipe), strict=True
        ):
            assert node.data_digest == alone[spec.slices].data_digest
            for name, tensor in alone[spec.slices].tensors.items():
                distance = float((node.tensors[name] - tensor).norm()) / max(float(tensor.norm()), 1e-6)
                assert distance <= tolerance, (spec.slices, name, distance)


def test_one_node_alone_on_a_gpu_gives_tensors_that_lie_on_the_cpu() -> None:
    spec = canonical_nodes(build_family(RECIPE.family, SLICES), make_ground(make_slices(), RECIPE))[0]
    node = train_node(spec, activations=on_gpu(), parents=[], recipe=RECIPE)
    assert {tensor.device.type for tensor in node.tensors.values()} == {"cpu"}


def test_the_environment_names_the_device() -> None:
    assert environment(device_of("cuda"))["device"] == torch.cuda.get_device_name()
    assert "device" not in environment(device_of("cpu"))
