"""A vision transformer from elsewhere: features and pixels as `transformers` has them, and directories that will not do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.preprocessing import Preprocessing, read_preprocessing
from core.modelling.vision_encoder import VisionEncoder, VisionEncoderShape, prepared, read_vision_encoder
from tests.unit.modelling.tiny_vision_encoder import (
    CONFIG,
    EDGE,
    HEADS,
    LAYERS,
    PREPROCESSOR,
    WIDTH,
    write_vision_encoder,
)

needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "PIL")),
    reason="transformers and pillow are not installed",
)
READ = (3, 13, 11)
"""Channels, height, width of what is read: no edge is the encoder's."""


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def opened(directory: Path, read: tuple[int, int, int] = READ) -> VisionEncoder:
    tensors = read_vision_encoder(files_of(directory), layers=LAYERS, outputs=3)
    recipe = BackboneRecipe(width=WIDTH, layers=LAYERS, heads=HEADS, directory=str(directory))
    return VisionEncoderShape.of(tensors, recipe, read, 3).backbone(tensors)


def bytes_images(count: int = 5, shape: tuple[int, ...] = (13, 11, 3)) -> np.ndarray[Any, Any]:
    """Return images with smooth parts and edges."""
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def as_inputs(images: np.ndarray[Any, Any]) -> Tensor:
    return torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2) / 127.5 - 1


def features(backbone: VisionEncoder, inputs: Tensor) -> Tensor:
    weights = backbone.folded(range(LAYERS), {}, 0.0)
    with torch.no_grad():
        return backbone.top_features(backbone.embed(inputs), weights)


@needs_transformers
@pytest.mark.parametrize("prefix", ["", "vit."], ids=["ViTModel", "ViTForImageClassification"])
def test_features_are_those_of_transformers(tmp_path: Path, prefix: str) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(**{name: value for name, value in CONFIG.items() if name != "architectures"})
    model: Any = ViTForImageClassification(config) if prefix else ViTModel(config, add_pooling_layer=False)
    model.eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    backbone = opened(tmp_path)
    inputs = as_inputs(bytes_images())
    bare = model.vit if prefix else model
    with torch.no_grad():
        theirs = bare(pixel_values=prepared(inputs, backbone.shape.preprocessing)).last_hidden_state[:, 0]
    torch.testing.assert_close(features(backbone, inputs), theirs, rtol=1e-4, atol=1e-5)


@needs_transformers
@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(13, 11, 3), (5, 4, 3), (EDGE, EDGE, 3)], ids=["smaller", "larger", "as it is"])
def test_pixels_are_those_of_its_own_preprocessor_to_one_level(resample: int, shape: tuple[int, ...]) -> None:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    said = PREPROCESSOR | {"resample": resample}
    images = bytes_images(shape=shape)
    theirs = ViTImageProcessorPil(**said)(list(images), return_tensors="pt")["pixel_values"]
    wanted = read_preprocessing(CONFIG, said)
    ours = prepared(as_inputs(images), wanted)
    level = torch.tensor([wanted.scale / one for one in wanted.deviation])[:, None, None]
    # Pillow weighs in fixed point.
    assert float(((ours - theirs) / level).abs().max()) <= (1.01 if shape[0] != EDGE else 0.01)


def test_an_image_is_prepared_alike_whatever_it_stands_beside(tmp_path: Path) -> None:
    backbone = opened(write_vision_encoder(tmp_path))
    inputs = as_inputs(bytes_images(64))
    whole = prepared(inputs, backbone.shape.preprocessing)
    alone = torch.cat([prepared(one[None], backbone.shape.preprocessing) for one in inputs])
    assert torch.equal(whole, alone)


def test_grey_images_are_seen_as_three_equal_channels(tmp_path: Path) -> None:
    grey = as_inputs(bytes_images(shape=(6, 6, 1)))
    backbone = opened(write_vision_encoder(tmp_path), (1, 6, 6))
    torch.testing.assert_close(features(backbone, grey), features(backbone, grey.repeat(1, 3, 1, 1)))


def test_what_is_done_to_pixels_is_part_of_the_backbone(tmp_path: Path) -> None:
    plain = opened(write_vision_encoder(tmp_path / "plain"))
    other = opened(write_vision_encoder(tmp_path / "other", said={"image_mean": [0.1, 0.1, 0.1]}))
    assert not torch.equal(plain.tensors["preprocessing"], other.tensors["preprocessing"])
    found = plain.shape.preprocessing
    assert found == Preprocessing.from_bytes(found.as_bytes())
    assert read_preprocessing(CONFIG, found.as_config()) == found


def test_missing_biases_of_the_projections_are_zeros_and_other_gaps_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_vision_encoder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: one for name, one in weights.items() if not name.endswith("query.bias")}, tmp_path / "model.safetensors"
    )
    assert not opened(tmp_path).tensors["layer.0.q.bias"].any()
    save_file(
        {name: one for name, one in weights.items() if not name.endswith("query.weight")},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(Impossible, match="lacks a tensor"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"do_center_crop": True}, "crops"),
        ({"size": {"height": 9, "width": 9}}, "image_size"),
        ({"size": {"shortest_edge": 8}}, "does not say"),
        ({"resample": 1}, "does not say"),
        ({"image_mean": [0.5]}, "does not say"),
        ({"image_processor_type": "CLIPImageProcessor"}, "ViTImageProcessor"),
    ],
)
def test_a_preprocessor_that_wants_something_else_is_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Impossible, match=sentence):
        read_preprocessing(CONFIG, PREPROCESSOR | said)


def test_what_an_old_preprocessor_leaves_open_is_as_transformers_has_it() -> None:
    old = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "size": 8}
    found = read_preprocessing(CONFIG, old)
    assert (found.height, found.resampling, found.mean, found.deviation) == (8, "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert found.scale == pytest.approx(1 / 255)


def test_tensors_of_another_size_than_the_config_says_are_refused(tmp_path: Path) -> None:
    directory = write_vision_encoder(tmp_path, said={"size": {"height": 12, "width": 12}}, image_size=12)
    with pytest.raises(Impossible, match="sizes"):
        opened(directory)
