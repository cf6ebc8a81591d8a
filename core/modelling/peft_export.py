"""What `peft` and `transformers` load: the backbone as a ViT directory, and one adapter directory for each served chain.

Only names change: arithmetic is that of Hugging Face's ViT, and a chain's factors are low-rank adapters on the query and
value projections of its layers with rank-stabilised scaling. Written for transformers 5, without importing it.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.domain.model import NodeRecipe
from core.modelling.ensemble import NodeChain
from core.modelling.layers import NORM_EPSILON
from core.modelling.peft_adapters import Files, as_json, lora_directory
from core.modelling.tensors import to_bytes
from core.modelling.vision_encoder import PREPROCESSING, VisionEncoder
from core.modelling.vision_transformer import VisionTransformer

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
        "intermediate_size": len(backbone.tensors["layer.0.mlp_in.bias"]),
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
    tensors = {_vit_name(name): tensor for name, tensor in backbone.tensors.items() if name != PREPROCESSING}
    files = {"config.json": as_json(config), "model.safetensors": to_bytes(tensors)}
    if isinstance(backbone, VisionEncoder):
        files["preprocessor_config.json"] = as_json(backbone.shape.preprocessing.as_config())
    return files


def adapter_directory(chain: NodeChain, recipe: NodeRecipe, base: str) -> Files:
    """Return the files of a directory that `PeftModel.from_pretrained` loads on top of the backbone.

    Args:
        chain: the tensors of a served node's ancestors from depth 1 downwards, and last its own.
        recipe: gives rank and scale of the factors.
        base: path of the backbone's directory, as the adapter names it.
    """
    modules = {f"vit.layers.{{layer}}.{PROJECTIONS[name]}": (name,) for name in "qv"}
    saved = {"classifier.weight": chain[-1]["head.weight"], "classifier.bias": chain[-1]["head.bias"]}
    return lora_directory(chain, recipe, base, modules, saved)


def _vit_name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, kind = name.split(".")
    return f"vit.layers.{layer}.{PARTS[part]}.{kind}"
