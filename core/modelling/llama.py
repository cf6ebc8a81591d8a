"""Llama's arithmetic (arXiv:2302.13971): root-mean-square norms, places turned into queries and keys, a gated MLP.

Places are turned in (arXiv:2104.09864); keys and values may be shared among heads (arXiv:2305.13245).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from core.modelling.language_transformer import LanguageTransformer, one_mark
from core.modelling.tensors import NamedTensors

WHOLE = {"words": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
LAYER = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}
"""Our names of a layer's parts, and those of Hugging Face's Llama."""


@dataclass(frozen=True)
class Llama(LanguageTransformer):
    """A language model with Llama's arithmetic."""

    title = "Llama"
    projections = ("q", "k", "v", "o", "up", "down", "gate")
    mlp_in = ("gate", "up")
    tied = False

    @staticmethod
    def decided(config: Mapping[str, Any]) -> dict[str, Any]:
        heads = int(config["num_attention_heads"])
        places = config.get("rope_parameters") or {}
        # No word of the family: digests of the time when there was but one must hold.
        return {
            "heads": heads,
            "key_value_heads": int(config.get("num_key_value_heads") or heads),
            "head_width": int(config.get("head_dim") or config["hidden_size"] // heads),
            "places_base": float(places.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            "norm_epsilon": float(config.get("rms_norm_eps", 1e-6)),
            "positions": int(config.get("max_position_embeddings", 2048)),
            "first": one_mark(config.get("bos_token_id")),
            "last": one_mark(config.get("eos_token_id")),
        }

    @staticmethod
    def taken(theirs: NamedTensors, layers: int) -> NamedTensors:
        names = dict(WHOLE)
        for layer in range(layers):
            for ours, part in LAYER.items():
                names[f"layer.{layer}.{ours}.weight"] = f"model.layers.{layer}.{part}.weight"
                bias = f"model.layers.{layer}.{part}.bias"
                if bias in theirs:
                    names[f"layer.{layer}.{ours}.bias"] = bias
        return {ours: theirs[name].to(torch.float32) for ours, name in names.items()}

    @staticmethod
    def fits(tensors: NamedTensors, decided: Mapping[str, Any]) -> bool:
        shared = int(decided["key_value_heads"]) * int(decided["head_width"])
        even = int(decided["head_width"]) % 2 == 0
        return even and len(tensors["layer.0.k.weight"]) == shared

    def _placed(self, states: Tensor) -> Tensor:
        cosine, sine = (table[: states.shape[2]].to(states.device) for table in self._places)
        left, right = states.chunk(2, dim=3)
        return states * cosine + torch.cat((-right, left), dim=3) * sine

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        size = int(self.config["head_width"])
        # Kept from the first call on, which may be an answer's: what is made in inference mode can never be trained through.
        with torch.inference_mode(mode=False):
            return self._turned(size)

    def _turned(self, size: int) -> tuple[Tensor, Tensor]:
        rates = 1.0 / float(self.config["places_base"]) ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size)
        angles = torch.outer(torch.arange(self.shape.tokens).float(), rates)
        angles = torch.cat((angles, angles), dim=1)
        return angles.cos(), angles.sin()

    def _norm(self, states: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        mean_square = states.square().mean(dim=2, keepdim=True)
        return pair[0] * (states * torch.rsqrt(mean_square + float(self.config["norm_epsilon"])))

    def _activated(self, states: Tensor) -> Tensor:
        gate, up = states.chunk(2, dim=2)
        return silu(gate) * up
