from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from core.domain.model import NodeRecipe
from core.modelling.adapters import Adapter, adapters_from, factor_name
from core.modelling.ensemble import Ensemble
from core.modelling.tensors import NamedTensors
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape

SHAPE = VisionTransformerShape(image_shape=(1, 4, 4), patch=2, width=8, layers=2, heads=2, outputs=3)
RECIPE = NodeRecipe(rank=4, alpha=3.0)
SCALE = 1.5  # alpha / sqrt(rank)


@pytest.fixture
def backbone() -> VisionTransformer:
    chance = torch.Generator().manual_seed(1)
    sizes = SHAPE.tensor_shapes()
    return VisionTransformer(SHAPE, {name: 0.5 * torch.randn(size, generator=chance) for name, size in sizes.items()})


@pytest.fixture
def images() -> Tensor:
    return torch.randn((6, 1, 4, 4), generator=torch.Generator().manual_seed(2))


def make_node(layer: int, seed: int) -> NamedTensors:
    chance = torch.Generator().manual_seed(seed)
    sizes: dict[str, tuple[int, ...]] = {
        factor_name(layer, name): (4, 8) if name.endswith("a") else (8, 4) for name in Adapter._fields
    }
    sizes |= {"head.weight": (3, 8), "head.bias": (3,)}
    return {name: torch.randn(size, generator=chance) for name, size in sizes.items()}


SHALLOW, TIED, TOP, LOW = make_node(1, 10), make_node(1, 11), make_node(1, 12), make_node(0, 13)


def by_hand(backbone: VisionTransformer, chain: list[NamedTensors], images: Tensor) -> Tensor:
    """One chain's logits, every layer computed in full from the images on."""
    adapters = {layer: adapter for node in chain for layer, adapter in adapters_from(node).items()}
    weights = [backbone.layer_weights(layer, adapters.get(layer), SCALE) for layer in range(2)]
    features = backbone.features(backbone.run(backbone.embed(images), weights))
    return linear(features, chain[-1]["head.weight"], chain[-1]["head.bias"])


def test_shards_vote_by_depth_and_ties_are_averaged(backbone: VisionTransformer, images: Tensor) -> None:
    ensemble = Ensemble.build(backbone, [[[SHALLOW], [TIED]], [[TOP, LOW]], []], RECIPE)
    tied = (by_hand(backbone, [SHALLOW], images) + by_hand(backbone, [TIED], images)) / 2
    deep = by_hand(backbone, [TOP, LOW], images)
    assert ensemble.depths == (1, 2, 0)
    assert not ensemble.degraded
    torch.testing.assert_close(ensemble.logits(images), (1 * tied + 2 * deep) / 3)


def test_a_shard_that_dies_leaves_the_vote(backbone: VisionTransformer, images: Tensor) -> None:
    before = Ensemble.build(backbone, [[[SHALLOW]], [[TOP, LOW]]], RECIPE)
    after = Ensemble.build(backbone, [[[SHALLOW]], []], RECIPE)
    assert not torch.allclose(before.logits(images), after.logits(images))
    torch.testing.assert_close(after.logits(images), by_hand(backbone, [SHALLOW], images))


def test_when_all_are_dead_the_public_head_answers_degraded(backbone: VisionTransformer, images: Tensor) -> None:
    ensemble = Ensemble.build(backbone, [[], []], RECIPE)
    assert ensemble.degraded
    public = {name: backbone.tensors[name] for name in ("head.weight", "head.bias")}
    torch.testing.assert_close(ensemble.logits(images), by_hand(backbone, [public], images))


def test_an_ancestors_head_is_never_read(backbone: VisionTransformer, images: Tensor) -> None:
    other = TOP | {"head.weight": TOP["head.weight"] + 1}
    answers = [Ensemble.build(backbone, [[[top, LOW]]], RECIPE).logits(images) for top in (TOP, other)]
    assert torch.equal(*answers)


def test_the_recipes_alpha_scales_the_factors(backbone: VisionTransformer, images: Tensor) -> None:
    louder = replace(RECIPE, alpha=6.0)
    plain, loud = (Ensemble.build(backbone, [[[TOP]]], recipe).logits(images) for recipe in (RECIPE, louder))
    assert not torch.allclose(plain, loud)


def test_chains_of_different_depth_in_one_shard_are_refused(backbone: VisionTransformer) -> None:
    with pytest.raises(ValueError, match="must have one depth"):
        Ensemble.build(backbone, [[[SHALLOW], [TOP, LOW]]], RECIPE)
    with pytest.raises(ValueError, match="at least one node"):
        Ensemble.build(backbone, [[[]]], RECIPE)
