"""A directory as Hugging Face writes them, small and random: a vision transformer of four layers and its preprocessor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WIDTH, LAYERS, HEADS, INNER, EDGE, PATCH = 16, 4, 2, 40, 8, 4
CONFIG: dict[str, Any] = {
    "architectures": ["ViTModel"],
    "model_type": "vit",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "image_size": EDGE,
    "patch_size": PATCH,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
}
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": EDGE, "width": EDGE},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.25, 0.3],
}


def write_vision_encoder(
    directory: Path, *, seed: int = 0, prefix: str = "", said: dict[str, Any] | None = None, **changed: Any
) -> Path:
    """Write config, weights and preprocessor into a directory, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | changed))
    (directory / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | (said or {})))
    chance = torch.Generator().manual_seed(seed)
    weights = {
        prefix + name: (torch.ones(size) if "norm" in name and name.endswith("weight") else torch.zeros(size))
        + 0.3 * torch.randn(size, generator=chance)
        for name, size in sizes().items()
    }
    save_file(weights, directory / "model.safetensors")
    return directory


def sizes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + (EDGE // PATCH) ** 2, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
        "layernorm.bias": (WIDTH,),
    }
    parts: dict[str, tuple[int, ...]] = {
        "attention.attention.query": (WIDTH, WIDTH),
        "attention.attention.key": (WIDTH, WIDTH),
        "attention.attention.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (INNER, WIDTH),
        "output.dense": (WIDTH, INNER),
        "layernorm_before": (WIDTH,),
        "layernorm_after": (WIDTH,),
    }
    for layer in range(LAYERS):
        for part, size in parts.items():
            found[f"encoder.layer.{layer}.{part}.weight"] = size
            found[f"encoder.layer.{layer}.{part}.bias"] = size[:1]
    return found
