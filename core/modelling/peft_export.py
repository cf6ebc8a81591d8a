"""What `peft` and `transformers` load: the backbone as a ViT directory, and one adapter directory for each served chain.

Only names change: arithmetic is that of Hugging Face's ViT, and a chain's factors are low-rank adapters on the query and
value projections of its layers with rank-stabilised scaling. Target modules are named in full, never by a pattern: a
pattern for layer 1 would also take layers 10 to 19. Written for transformers 5, without importing it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from core.domain.model import NodeRecipe
from core.modelling.adapters import adapters_from
from core.modelling.ensemble import NodeChain
from core.modelling.layers import NORM_EPSILON
from core.modelling.tensors import NamedTensors, to_bytes
from core.modelling.transformer import MLP_RATIO
from core.modelling.vision_transformer import VisionTransformer

Files = dict[str, bytes]
PROJECTIONS = {"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "o": "attention.o_proj"}
PARTS = PROJECTIONS | {
    "mlp_in": "mlp.fc1",
    "mlp_out": "mlp.fc2",
    "attention_norm": "layernorm_before",
    "mlp_norm": "layernorm_after",
}
WHOLE = {
    "patch.weight": "vit.embeddings.patch_embeddings.projection.weight",
    "patch.bias": "vit.embeddings.patch_embeddings.projection.bias",
    "class_token": "vit.embeddings.cls_token",
    "positions": "vit.embeddings.position_embeddings",
    "norm.weight": "vit.layernorm.weight",
    "norm.bias": "vit.layernorm.bias",
    "head.weight": "classifier.weight",
    "head.bias": "classifier.bias",
}


def vit_directory(backbone: VisionTransformer, labels: Iterable[str]) -> Files:
    """Return the files of a directory that `ViTForImageClassification.from_pretrained` loads; its head is the public one."""
    shape, names = backbone.shape, list(labels)
    config = {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": MLP_RATIO * shape.width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": NORM_EPSILON,
        "image_size": list(shape.image_shape[1:]),
        "patch_size": [shape.patch, shape.patch],
        "num_channels": shape.image_shape[0],
        "qkv_bias": True,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "dtype": "float32",
    }
    tensors = {_vit_name(name): tensor for name, tensor in backbone.tensors.items()}
    return {"config.json": _json(config), "model.safetensors": to_bytes(tensors)}


def adapter_directory(chain: NodeChain, recipe: NodeRecipe, base: str) -> Files:
    """Return the files of a directory that `PeftModel.from_pretrained` loads on top of the backbone.

    Args:
        chain: the tensors of a served node's ancestors from depth 1 downwards, and last its own.
        recipe: gives rank and scale of the factors.
        base: path of the backbone's directory, as the adapter names it.
    """
    adapters = {layer: adapter for node in chain for layer, adapter in adapters_from(node).items()}
    tensors: NamedTensors = {
        "base_model.model.classifier.weight": chain[-1]["head.weight"],
        "base_model.model.classifier.bias": chain[-1]["head.bias"],
    }
    targets = []
    for layer, adapter in sorted(adapters.items()):
        for projection, (low, high) in {"q": (adapter.q_a, adapter.q_b), "v": (adapter.v_a, adapter.v_b)}.items():
            module = f"vit.layers.{layer}.{PROJECTIONS[projection]}"
            targets.append(module)
            tensors[f"base_model.model.{module}.lora_A.weight"] = low
            tensors[f"base_model.model.{module}.lora_B.weight"] = high
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "use_rslora": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": targets,
        "modules_to_save": ["classifier"],
        "inference_mode": True,
    }
    return {"adapter_config.json": _json(config), "adapter_model.safetensors": to_bytes(tensors)}


def _vit_name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, kind = name.split(".")
    return f"vit.layers.{layer}.{PARTS[part]}.{kind}"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
