"""A vision transformer from a directory as Hugging Face writes them (arXiv:2010.11929; DINO's are of the same class).

    pixels of the contract ──whole levels, resized, normalised──▶ what it was trained on ──vision transformer──▶ features

What is done to pixels is what its preprocessor says, and lies among the tensors, as bytes: it is part of what the
backbone's digest stands for. Resizing happens as images are read, so that no slice holds them larger than they came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn.functional import interpolate

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.preprocessing import Preprocessing, read_preprocessing
from core.modelling.tensors import NamedTensors, bytes_tensor
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape

PREPROCESSING = "preprocessing"
HIGHEST_LEVEL = 255
WHOLE = {
    "patch.weight": "embeddings.patch_embeddings.projection.weight",
    "patch.bias": "embeddings.patch_embeddings.projection.bias",
    "class_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
LAYER = {
    "q": ("encoder.layer.{}.attention.attention.query", "layers.{}.attention.q_proj"),
    "k": ("encoder.layer.{}.attention.attention.key", "layers.{}.attention.k_proj"),
    "v": ("encoder.layer.{}.attention.attention.value", "layers.{}.attention.v_proj"),
    "o": ("encoder.layer.{}.attention.output.dense", "layers.{}.attention.o_proj"),
    "mlp_in": ("encoder.layer.{}.intermediate.dense", "layers.{}.mlp.fc1"),
    "mlp_out": ("encoder.layer.{}.output.dense", "layers.{}.mlp.fc2"),
    "attention_norm": ("encoder.layer.{}.layernorm_before", "layers.{}.layernorm_before"),
    "mlp_norm": ("encoder.layer.{}.layernorm_after", "layers.{}.layernorm_after"),
}
"""Our names of a layer's parts, and those of Hugging Face's ViT: as files have them, and as transformers 5 calls them."""


@dataclass(frozen=True, kw_only=True)
class VisionEncoderShape(VisionTransformerShape):
    """All sizes of a vision transformer that came ready; those that a recipe does not say are read off its tensors."""

    read_shape: tuple[int, int, int]
    """Channels, height, width of the contract's images, before anything is done to them."""
    preprocessing: Preprocessing
    sizes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(
        cls, tensors: NamedTensors, recipe: BackboneRecipe, read_shape: tuple[int, int, int], outputs: int
    ) -> VisionEncoderShape:
        """Return the shape of these tensors, run as the recipe says on images as the contract declares them."""
        preprocessing = Preprocessing.from_bytes(bytes(tensors[PREPROCESSING].numpy()))
        return cls(
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            outputs=outputs,
            image_shape=(preprocessing.channels, preprocessing.height, preprocessing.width),
            patch=tensors["patch.weight"].shape[-1],
            read_shape=read_shape,
            preprocessing=preprocessing,
            sizes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.read_shape

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.sizes)

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:  # noqa: ARG002
        return inputs

    def backbone(self, tensors: NamedTensors) -> VisionEncoder:
        return VisionEncoder(self, tensors)


@dataclass(frozen=True)
class VisionEncoder(VisionTransformer):
    """A backbone for images that was trained elsewhere."""

    shape: VisionEncoderShape

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width) hidden states at boundary 0 for (n, *read_shape) images in [-1, 1]."""
        return super().embed(prepared(inputs, self.shape.preprocessing))


def prepared(images: Tensor, wanted: Preprocessing) -> Tensor:
    """Return (n, channels, height, width) what a vision transformer wants to see.

    As its own preprocessor does with bytes: whole levels before and after resizing, grey as three equal channels.

    Args:
        images: (n, channels or 1, …, …) in [-1, 1], the contract's range.
        wanted: what to do.
    """
    levels = ((images + 1) * (HIGHEST_LEVEL / 2)).round()
    # One way after the other, with whole levels between: as Pillow does.
    for size in ((levels.shape[2], wanted.width), (wanted.height, wanted.width)):
        if levels.shape[2:] != size:
            resized = interpolate(levels, size, mode=wanted.resampling, align_corners=False, antialias=True)
            levels = (resized + 0.5).floor().clamp(0, HIGHEST_LEVEL)
    levels = levels.expand(-1, wanted.channels, -1, -1)
    mean, deviation = (levels.new_tensor(each)[:, None, None] for each in (wanted.mean, wanted.deviation))
    return (levels * wanted.scale - mean) / deviation


def read_vision_encoder(files: Mapping[str, bytes], *, layers: int, outputs: int) -> NamedTensors:
    """Return the tensors of a directory's files under our names, with its preprocessing and a silent public head.

    Raises:
        Impossible: the files lack a tensor, or do not fit together.
    """
    theirs = load(files["model.safetensors"])
    prefix = "vit." if any(name.startswith("vit.") for name in theirs) else ""
    found = {ours: _taken(theirs, prefix, (name,)) for ours, name in WHOLE.items()}
    width = found["norm.weight"].shape[0]
    for layer in range(layers):
        for ours, names in LAYER.items():
            spelled = [name.format(layer) for name in names]
            found[f"layer.{layer}.{ours}.weight"] = _taken(theirs, prefix, [f"{name}.weight" for name in spelled])
            # Some were trained without biases of query, key and value; zero is the same.
            bare = torch.zeros(width) if ours in {"q", "k", "v"} else None
            found[f"layer.{layer}.{ours}.bias"] = _taken(theirs, prefix, [f"{name}.bias" for name in spelled], bare)
    preprocessing = read_preprocessing(json.loads(files["config.json"]), json.loads(files["preprocessor_config.json"]))
    _refuse_misfits(found, preprocessing)
    head = {"head.weight": torch.zeros(outputs, width), "head.bias": torch.zeros(outputs)}
    recorded = bytes_tensor(preprocessing.as_bytes())
    return found | head | {PREPROCESSING: recorded}


def _taken(
    theirs: Mapping[str, Tensor], prefix: str, names: tuple[str, ...] | list[str], otherwise: Tensor | None = None
) -> Tensor:
    for name in names:
        if prefix + name in theirs:
            # Cloned: the loader's tensors are views into the file, aligned by accident, and kernels round by alignment.
            return theirs[prefix + name].to(torch.float32).clone()
    if otherwise is None:
        raise Impossible("the directory's model.safetensors lacks a tensor of a vision transformer")
    return otherwise


def _refuse_misfits(tensors: NamedTensors, preprocessing: Preprocessing) -> None:
    _, channels, height, width = tensors["patch.weight"].shape
    patches = (preprocessing.height // height) * (preprocessing.width // width)
    if channels != preprocessing.channels or tensors["positions"].shape[1] != 1 + patches or height != width:
        raise Impossible("the directory's tensors are not those of the sizes that its config.json gives")
