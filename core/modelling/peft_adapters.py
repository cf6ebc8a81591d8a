"""One served chain as a directory that `peft` loads: low-rank factors under the names of a model of `transformers`.

Target modules are named in full, never by a pattern: a pattern for layer 1 would also take layers 10 to 19. Where a model keeps
several projections in one module, their factors become one adapter of as many times the rank: what reads is stacked, what writes
lies along the diagonal, so each projection gets its own update and nothing of the others'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from core.domain.model import NodeRecipe
from core.modelling.adapters import adapters_from, scaling
from core.modelling.ensemble import NodeChain
from core.modelling.tensors import NamedTensors, to_bytes

Files = dict[str, bytes]


def lora_directory(  # noqa: PLR0913
    chain: NodeChain,
    recipe: NodeRecipe,
    base: str,
    modules: Mapping[str, tuple[str, ...]],
    saved: NamedTensors | None = None,
    *,
    transposed: bool = False,
) -> Files:
    """Return the files of a directory that `PeftModel.from_pretrained` loads on top of the backbone.

    Args:
        chain: the tensors of a served node's ancestors from depth 1 downwards, and last its own.
        recipe: gives rank and scale of the factors.
        base: path of the backbone's directory, as the adapter names it.
        modules: by a module's name, with `{layer}` for the layer's number, the projections whose rows it holds, in that order.
        saved: tensors of modules that are replaced as a whole, by "module.parameter".
        transposed: whether the modules keep their weights as (columns, rows).
    """
    adapters = {layer: adapter for node in chain for layer, adapter in adapters_from(node).items()}
    tensors: NamedTensors = {f"base_model.model.{name}": tensor for name, tensor in (saved or {}).items()}
    targets: list[str] = []
    ranks, alphas = dict[str, int](), dict[str, float]()
    for layer, adapter in sorted(adapters.items()):
        for template, projections in modules.items():
            lows, highs = ([getattr(adapter, f"{name}_{factor}") for name in projections] for factor in "ab")
            module = template.format(layer=layer)
            targets.append(module)
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.cat(lows)
            tensors[f"base_model.model.{module}.lora_B.weight"] = torch.block_diag(*highs)  # type: ignore[no-untyped-call]
            if len(projections) > 1:
                ranks[module] = recipe.rank * len(projections)
                # `peft` divides by the root of the rank that it sees, and the scale must stay what it was.
                alphas[module] = scaling(recipe.alpha, recipe.rank) * ranks[module] ** 0.5
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "use_rslora": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "target_modules": targets,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "modules_to_save": sorted({name.split(".")[0] for name in saved}) if saved else None,
        "inference_mode": True,
    }
    return {"adapter_config.json": as_json(config), "adapter_model.safetensors": to_bytes(tensors)}


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
