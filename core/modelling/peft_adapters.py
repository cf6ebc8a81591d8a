"""One served chain as a directory that `peft` loads: low-rank factors under the names of a model of `transformers`.

Target modules are named in full, never by a pattern: a pattern for layer 1 would also take layers 10 to 19.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.domain.model import NodeRecipe
from core.modelling.adapters import adapters_from
from core.modelling.ensemble import NodeChain
from core.modelling.tensors import NamedTensors, to_bytes

Files = dict[str, bytes]


def lora_directory(
    chain: NodeChain, recipe: NodeRecipe, base: str, modules: Mapping[str, str], saved: NamedTensors | None = None
) -> Files:
    """Return the files of a directory that `PeftModel.from_pretrained` loads on top of the backbone.

    Args:
        chain: the tensors of a served node's ancestors from depth 1 downwards, and last its own.
        recipe: gives rank and scale of the factors.
        base: path of the backbone's directory, as the adapter names it.
        modules: the name of the module behind each projection, with `{layer}` for the layer's number.
        saved: tensors of modules that are replaced as a whole, by "module.parameter".
    """
    adapters = {layer: adapter for node in chain for layer, adapter in adapters_from(node).items()}
    tensors: NamedTensors = {f"base_model.model.{name}": tensor for name, tensor in (saved or {}).items()}
    targets = []
    for layer, adapter in sorted(adapters.items()):
        for projection, template in modules.items():
            low, high = getattr(adapter, f"{projection}_a"), getattr(adapter, f"{projection}_b")
            module = template.format(layer=layer)
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
        "modules_to_save": sorted({name.split(".")[0] for name in saved}) if saved else None,
        "inference_mode": True,
    }
    return {"adapter_config.json": as_json(config), "adapter_model.safetensors": to_bytes(tensors)}


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
