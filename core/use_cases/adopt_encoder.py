"""Take a text encoder's directory into a recipe: its sizes, and a digest of the files that every later step must meet.

Torch-free, so that a directory that will not do is refused when a model is registered. Weights come as safetensors; a
pickle is never opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.datasets.schema import Schema, TextSchema
from core.domain.errors import Impossible, PathNotAllowed
from core.domain.model import Recipe
from core.settings import Settings

FILES = ("config.json", "model.safetensors", "tokenizer.json")
FIXED = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"}
"""What the arithmetic here is right for; a config that does not say means the same."""


def adopt_encoder(recipe: Recipe, schema: Schema, settings: Settings) -> Recipe:
    """Return the recipe with the sizes and the digest of its encoder; one for other kinds comes back as it is.

    Raises:
        Impossible: a model of text names no directory, another names one, or the directory holds no such encoder.
        PathNotAllowed: it lies outside LETHE_DATA_ROOTS.
    """
    directory = recipe.backbone.directory
    if not isinstance(schema, TextSchema):
        if directory is not None:
            raise Impossible("recipe.backbone.directory is for models of text")
        return recipe
    if directory is None:
        raise Impossible("a model of text stands on an encoder: name its directory in recipe.backbone.directory")
    files = read_encoder_files(directory, settings)
    config = _config(files["config.json"])
    try:
        backbone = replace(
            recipe.backbone,
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            directory_digest=files_digest(files),
        )
    except (KeyError, TypeError, ValueError):
        raise Impossible("the directory's config.json does not give the sizes of a BERT encoder") from None
    return replace(recipe, backbone=backbone)


def read_encoder_files(directory: str, settings: Settings) -> dict[str, bytes]:
    """Return the contents of an encoder's files.

    Raises:
        Impossible: one of them is not there.
        PathNotAllowed: the directory lies outside LETHE_DATA_ROOTS.
    """
    try:
        path = Path(directory).resolve()
        if not any(path.is_relative_to(root) for root in settings.allowed_roots):
            raise PathNotAllowed("name a directory below one of those in LETHE_DATA_ROOTS")
        return {name: (path / name).read_bytes() for name in FILES}
    except (OSError, ValueError, RuntimeError):
        raise Impossible(f"the directory must hold {', '.join(FILES)}; weights come as safetensors only") from None


def files_digest(files: Mapping[str, bytes]) -> str:
    """Return the hex digest of an encoder's files."""
    digest = hashlib.sha256(b"lethe encoder\x00")
    for name in FILES:
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def _config(content: bytes) -> Mapping[str, Any]:
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Impossible("the directory's config.json is no JSON object")
    for name, right in FIXED.items():
        if config.get(name, right) != right:
            raise Impossible(f"only encoders with {name} {right!r} are known here")
    return config
