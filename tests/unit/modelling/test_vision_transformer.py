from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.adapters import Adapter, adapters_from, factor_name
from core.modelling.layers import run_layer
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape, fitting_patch

SHAPE = VisionTransformerShape(image_shape=(1, 4, 6), patch=2, width=8, layers=2, heads=2, outputs=3)


def make_transformer(seed: int = 0) -> VisionTransformer:
    chance = torch.Generator().manual_seed(seed)
    sizes = SHAPE.tensor_shapes()
    return VisionTransformer(SHAPE, {name: 0.5 * torch.randn(size, generator=chance) for name, size in sizes.items()})


def random(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))


def test_a_layer_computes_what_torchs_own_pre_norm_encoder_layer_does() -> None:
    transformer = make_transformer()
    names = {
        "self_attn.out_proj": "o",
        "linear1": "mlp_in",
        "linear2": "mlp_out",
        "norm1": "attention_norm",
        "norm2": "mlp_norm",
    }
    own = transformer.tensors
    state = {
        f"{theirs}.{kind}": own[f"layer.1.{ours}.{kind}"]
        for theirs, ours in names.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = torch.cat([own[f"layer.1.{name}.{kind}"] for name in "qkv"])
    reference = torch.nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=True
    )
    reference.load_state_dict(state)
    hidden = random(5, SHAPE.tokens, 8)
    expected = reference(hidden)  # still in training mode: its fast path for inference is another kernel
    torch.testing.assert_close(run_layer(hidden, transformer.layer_weights(1), 2), expected)


def test_asking_for_the_class_token_alone_changes_nothing_about_it() -> None:
    transformer, hidden = make_transformer(), random(5, SHAPE.tokens, 8)
    weights = transformer.layer_weights(1)
    whole, alone = run_layer(hidden, weights, 2), run_layer(hidden, weights, 2, only_class_token=True)
    torch.testing.assert_close(alone, whole[:, :1])


def test_patches_are_read_row_by_row_after_the_class_token() -> None:
    transformer = make_transformer()
    image = random(1, 1, 4, 6)
    hidden = transformer.embed(image)
    second = image[0, :, :2, 2:4]
    weight, bias = transformer.tensors["patch.weight"], transformer.tensors["patch.bias"]
    expected = (weight * second).sum(dim=(1, 2, 3)) + bias + transformer.tensors["positions"][0, 2]
    assert hidden.shape == (1, SHAPE.tokens, 8) == (1, 7, 8)
    torch.testing.assert_close(hidden[0, 2], expected)
    torch.testing.assert_close(
        hidden[0, 0], (transformer.tensors["class_token"] + transformer.tensors["positions"])[0, 0]
    )


def test_factors_move_query_and_value_by_their_scaled_product_and_never_the_backbone() -> None:
    transformer = make_transformer()
    before = {name: tensor.clone() for name, tensor in transformer.tensors.items()}
    tensors = {factor_name(1, name): random(2, 8) if name.endswith("a") else random(8, 2) for name in Adapter._fields}
    adapter = adapters_from(tensors)[1]
    moved = transformer.layer_weights(1, adapter, 0.5).qkv[0] - transformer.layer_weights(1).qkv[0]
    q, k, v = moved.chunk(3)
    torch.testing.assert_close(q, 0.5 * adapter.q_b @ adapter.q_a)
    torch.testing.assert_close(v, 0.5 * adapter.v_b @ adapter.v_a)
    assert not k.any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in transformer.tensors.items())


@pytest.mark.parametrize(
    ("height", "width", "wanted", "patch"),
    [(8, 8, None, 2), (28, 28, None, 4), (32, 32, None, 4), (224, 224, None, 28), (5, 7, None, 1), (28, 28, 7, 7)],
)
def test_a_patch_is_the_smallest_that_keeps_tokens_few(height: int, width: int, wanted: int | None, patch: int) -> None:
    assert fitting_patch(height, width, wanted) == patch


@pytest.mark.parametrize(("height", "width", "wanted"), [(97, 89, None), (28, 28, 5)])
def test_images_that_no_patch_tiles_are_refused(height: int, width: int, wanted: int | None) -> None:
    with pytest.raises(Impossible, match=f"{height} x {width}"):
        fitting_patch(height, width, wanted)


def test_tensors_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="not those of this backbone's shape"):
        VisionTransformer(replace(SHAPE, layers=3), make_transformer().tensors)


def test_a_recipe_and_the_images_give_the_shape() -> None:
    shape = VisionTransformerShape.from_recipe(BackboneRecipe(), (3, 32, 32), 10)
    assert (shape.patch, shape.tokens, shape.outputs) == (4, 65, 10)
