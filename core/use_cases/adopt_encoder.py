"""Take a model's directory into a recipe: its sizes, and a digest of the files that every later step must meet.

BERT-like encoders for texts, vision transformers for images, language models like Llama and GPT-2, all as Hugging Face writes them.

Torch-free, so that a directory that will not do is refused when a model is registered. Weights come as safetensors; a
pickle is never opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.datasets.contract import Kind
from core.datasets.image_schema import ImageSchema
from core.datasets.schema import Schema
from core.domain.errors import Impossible, PathNotAllowed
from core.domain.model import Recipe
from core.modelling.preprocessing import Preprocessing, read_preprocessing
from core.settings import Settings

FILES: Mapping[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("config.json", "model.safetensors", "tokenizer.json"),
    Kind.IMAGE: ("config.json", "model.safetensors", "preprocessor_config.json"),
    Kind.LANGUAGE: ("config.json", "model.safetensors", "tokenizer.json"),
}
"""By what a row is made of."""


@dataclass(frozen=True)
class Family:
    """Models of one `model_type`."""

    fixed: Mapping[str, Any]
    """What the arithmetic here is right for; a config that does not say means the same."""
    sizes: tuple[str, str, str] = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    """What its config calls width, layers and heads."""


FAMILIES: Mapping[Kind, Mapping[str, Family]] = {
    Kind.TEXT: {"bert": Family({"hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"})},
    Kind.IMAGE: {"vit": Family({"hidden_act": "gelu", "layer_norm_eps": 1e-12})},
    Kind.LANGUAGE: {
        "llama": Family({"hidden_act": "silu", "rope_scaling": None, "mlp_bias": False}),
        "gpt2": Family(
            {
                "activation_function": "gelu_new",
                "scale_attn_weights": True,
                "scale_attn_by_inverse_layer_idx": False,
                "add_cross_attention": False,
            },
            sizes=("n_embd", "n_layer", "n_head"),
        ),
    },
}
"""By `model_type`; a config that does not say is of the first."""


def adopt_encoder(recipe: Recipe, schema: Schema, settings: Settings) -> Recipe:
    """Return the recipe with the sizes and the digest of its encoder; one for other kinds comes back as it is.

    Raises:
        Impossible: a model of text names no directory, one of tables names one, or the directory holds no such encoder.
        PathNotAllowed: it lies outside LETHE_DATA_ROOTS.
    """
    directory = recipe.backbone.directory
    if directory is None:
        if schema.kind in (Kind.TEXT, Kind.LANGUAGE):
            raise Impossible(
                "a model of text stands on an encoder, or on a language model: name its directory in recipe.backbone.directory"
            )
        return recipe
    if schema.kind is Kind.LANGUAGE and recipe.ridge is not None:
        raise Impossible("a language model has no head that could be solved for: leave recipe.ridge out")
    if schema.kind not in FILES:
        raise Impossible("recipe.backbone.directory is for models of texts, images or language")
    files = read_encoder_files(directory, settings, schema.kind)
    config = read_json(files, "config.json")
    family = _family(config, FAMILIES[schema.kind])
    if isinstance(schema, ImageSchema):
        _refuse_images(schema, read_preprocessing(config, read_json(files, "preprocessor_config.json")))
    try:
        width, layers, heads = (config[name] for name in family.sizes)
        backbone = replace(
            recipe.backbone, width=width, layers=layers, heads=heads, directory_digest=files_digest(files)
        )
    except (KeyError, TypeError, ValueError):
        raise Impossible("the directory's config.json does not give the sizes of such a model") from None
    return replace(recipe, backbone=backbone)


def _refuse_images(schema: ImageSchema, wanted: Preprocessing) -> None:
    channels = schema.image_shape[2] if len(schema.image_shape) > 2 else 1  # noqa: PLR2004
    if channels not in (1, wanted.channels):
        raise Impossible(f"the encoder sees {wanted.channels} channels, and an image of the data set has {channels}")


def read_encoder_files(directory: str, settings: Settings, kind: Kind) -> dict[str, bytes]:
    """Return the contents of an encoder's files.

    Raises:
        Impossible: one of them is not there.
        PathNotAllowed: the directory lies outside LETHE_DATA_ROOTS.
    """
    try:
        path = Path(directory).resolve()
        if not any(path.is_relative_to(root) for root in settings.allowed_roots):
            raise PathNotAllowed("name a directory below one of those in LETHE_DATA_ROOTS")
        return {name: (path / name).read_bytes() for name in FILES[kind]}
    except (OSError, ValueError, RuntimeError):
        listed = ", ".join(FILES[kind])
        raise Impossible(f"the directory must hold {listed}; weights come as safetensors only") from None


def files_digest(files: Mapping[str, bytes]) -> str:
    """Return the hex digest of an encoder's files."""
    digest = hashlib.sha256(b"lethe encoder\x00")
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def read_json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """Return what one of an encoder's files says.

    Raises:
        Impossible: it is no JSON object.
    """
    try:
        found = json.loads(files[name])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Impossible(f"the directory's {name} is no JSON object")
    return found


def _family(config: Mapping[str, Any], families: Mapping[str, Family]) -> Family:
    family = families.get(config.get("model_type", next(iter(families))))
    if family is None:
        listed = " or ".join(repr(name) for name in families)
        raise Impossible(f"only models with model_type {listed} are known here")
    for name, right in family.fixed.items():
        if config.get(name, right) != right:
            raise Impossible(f"only models with {name} {right!r} are known here")
    places = config.get("rope_parameters")
    if isinstance(places, dict) and places.get("rope_type", "default") != "default":
        raise Impossible("only models with rope_type 'default' are known here")
    return family
