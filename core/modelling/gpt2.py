"""GPT-2's arithmetic (Radford et al., 2019): learned places, layer norms and biases everywhere, an MLP without a gate.

Hugging Face keeps its matrices transposed, (columns, rows), and query, key and value in one; here they are apart, each (rows,
columns), as in every other model, so that nodes put factors on them alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from core.modelling.language_transformer import LanguageTransformer, one_mark
from core.modelling.tensors import NamedTensors

FAMILY = "gpt2"
PREFIX = "transformer."
"""What the names of a model with a head begin with; a directory without a head, tied or bare, may leave it out."""
WHOLE = {"words": "wte.weight", "positions": "wpe.weight", "norm.weight": "ln_f.weight", "norm.bias": "ln_f.bias"}
FUSED = "attn.c_attn"
"""Query, key and value, in this order."""
TRANSPOSED = {"o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
NORMS = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
"""Our names of a layer's parts, and those of Hugging Face's GPT-2."""


@dataclass(frozen=True)
class Gpt2(LanguageTransformer):
    """A language model with GPT-2's arithmetic."""

    title = "GPT-2"
    projections = ("q", "k", "v", "o", "up", "down")
    mlp_in = ("up",)
    tied = True

    @staticmethod
    def decided(config: Mapping[str, Any]) -> dict[str, Any]:
        heads = int(config["n_head"])
        return {
            "family": FAMILY,
            "heads": heads,
            "key_value_heads": heads,
            "head_width": int(config["n_embd"]) // heads,
            "norm_epsilon": float(config.get("layer_norm_epsilon", 1e-5)),
            "positions": int(config.get("n_positions", 1024)),
            "first": one_mark(config.get("bos_token_id")),
            "last": one_mark(config.get("eos_token_id")),
        }

    @staticmethod
    def taken(theirs: NamedTensors, layers: int) -> NamedTensors:
        prefix = PREFIX if any(name.startswith(PREFIX) for name in theirs) else ""

        def found(name: str) -> Tensor:
            return theirs[prefix + name].to(torch.float32)

        tensors = {ours: found(name) for ours, name in WHOLE.items()}
        for layer in range(layers):
            for kind in ("weight", "bias"):
                # Of a bias, which has one dimension, the transpose is the bias.
                fused = found(f"h.{layer}.{FUSED}.{kind}").t().chunk(3)
                tensors |= {f"layer.{layer}.{name}.{kind}": part for name, part in zip("qkv", fused, strict=True)}
                for ours, part in TRANSPOSED.items():
                    tensors[f"layer.{layer}.{ours}.{kind}"] = found(f"h.{layer}.{part}.{kind}").t()
                for ours, part in NORMS.items():
                    tensors[f"layer.{layer}.{ours}.{kind}"] = found(f"h.{layer}.{part}.{kind}")
        return tensors

    @staticmethod
    def fits(tensors: NamedTensors, decided: Mapping[str, Any]) -> bool:
        width, inner = decided["heads"] * decided["head_width"], len(tensors["layer.0.up.weight"])
        columns = dict.fromkeys(("q", "k", "v", "o", "up"), width) | {"down": inner}
        rows = dict.fromkeys(("q", "k", "v", "o", "down", *NORMS), width) | {"up": inner}
        expected: dict[str, tuple[int, ...]] = {"norm.weight": (width,), "norm.bias": (width,)}
        expected |= {"words": (len(tensors["words"]), width), "positions": (decided["positions"], width)}
        for name in tensors.keys() - expected.keys():
            _, _, part, kind = name.split(".")
            whole = kind == "weight" and part in columns
            expected[name] = (rows[part], columns[part]) if whole else (rows[part],)
        return expected == {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def embed(self, inputs: Tensor) -> Tensor:
        return super().embed(inputs) + self.tensors["positions"][: inputs.shape[1]]

    def _norm(self, states: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        return layer_norm(states, states.shape[-1:], *pair, eps=float(self.config["norm_epsilon"]))

    def _activated(self, states: Tensor) -> Tensor:
        return gelu(states, approximate="tanh")
