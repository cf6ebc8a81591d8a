from __future__ import annotations

import pytest
import torch

from core.domain.errors import NoPublicPart
from core.modelling.images import shifted
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape
from core.unlearning.exact.activations import BATCH_ROWS, SliceActivations
from core.unlearning.exact.backbone import backbone_digest, pretrain, public_logits
from tests.unit.unlearning.tiny import CLASSES, IMAGE_SHAPE, backbone, make_recipe, make_slices, rows

RECIPE = make_recipe().backbone
SHAPE = VisionTransformerShape.from_recipe(RECIPE, IMAGE_SHAPE, CLASSES)


def test_a_seed_decides_every_bit_and_another_seed_others() -> None:
    images, labels = rows(20, seed=5)
    digests = [backbone_digest(pretrain(images, labels, SHAPE, RECIPE, seed=seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_pretraining_learns_the_public_rows() -> None:
    images, labels = rows(64, seed=5)
    recipe = type(RECIPE)(width=16, layers=2, heads=2, patch=2, epochs=12, batch_size=16, learning_rate=5e-3, shift=0)
    shape = VisionTransformerShape.from_recipe(recipe, IMAGE_SHAPE, CLASSES)
    trained = VisionTransformer(shape, pretrain(images, labels, shape, recipe, seed=1))
    assert (public_logits(trained, images).argmax(dim=1) == labels).float().mean() > 0.8


def test_without_public_rows_there_is_no_backbone() -> None:
    with pytest.raises(NoPublicPart):
        pretrain(torch.empty(0, *IMAGE_SHAPE), torch.empty(0, dtype=torch.int64), SHAPE, RECIPE, seed=1)


def test_a_shift_moves_whole_rows_and_repeats_the_edge() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    moved = shifted(image.expand(200, -1, -1, -1), 1, torch.Generator().manual_seed(0))
    seen = {tuple(picture.flatten().tolist()) for picture in moved}
    assert len(seen) == 9
    assert tuple(image.flatten().tolist()) in seen
    assert all(set(picture) <= set(range(16)) for picture in seen)


def test_activations_are_the_bare_backbones_states_whatever_else_the_shard_holds() -> None:
    slices = make_slices((BATCH_ROWS + 3, 2, 0, 1))
    alone = SliceActivations(backbone(), {0: slices[0]}).at(2, 0)
    together = SliceActivations(backbone(), slices)
    together.at(3, 1)
    assert torch.equal(alone, together.at(2, 0))
    assert together.at(2, 2).shape == (0, *alone.shape[1:])
    expected = backbone().run(backbone().embed(slices[0].inputs), backbone().folded(range(2), {}, 0.0))
    torch.testing.assert_close(alone, expected)
