"""A causal language model with Llama's arithmetic: root-mean-square norms, rotary places, gated perceptrons.

Tensors have the names that Hugging Face gives them, so a Llama directory's safetensors load as they are, and low-rank
adapters find the layers by the names that `peft` uses. arXiv:2302.13971.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

INITIAL_SPREAD = 0.02


@dataclass(frozen=True, kw_only=True)
class CausalTransformerShape:
    """All sizes of a Llama-shaped model, in the words of its `config.json`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size must be an even multiple of num_attention_heads")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        if not (float(self.rope_theta) > 1 and float(self.rms_norm_eps) > 0):
            raise ValueError("rope_theta must be above 1 and rms_norm_eps above 0")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads


class CausalTransformer(nn.Module):
    """Token ids (b, t) in, logits (b, t, vocabulary) out; padding belongs on the right, where nothing depends on it."""

    def __init__(self, shape: CausalTransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _Body(shape)
        self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)
        self.reset_parameters()
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def reset_parameters(self) -> None:
        """Draw every matrix afresh with a spread of 0.02."""
        for one in self.modules():
            if isinstance(one, nn.Linear | nn.Embedding):
                nn.init.normal_(one.weight, std=INITIAL_SPREAD)
            elif isinstance(one, nn.RMSNorm):
                one.reset_parameters()

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.lm_head(self.model(tokens))
        return found


class _Body(nn.Module):
    def __init__(self, shape: CausalTransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList([_Layer(shape) for _ in range(shape.num_hidden_layers)])
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.embed_tokens(tokens)
        turns = _turns(tokens.shape[-1], self.shape, hidden)
        for layer in self.layers:
            hidden = layer(hidden, turns)
        found: Tensor = self.norm(hidden)
        return found


class _Layer(nn.Module):
    def __init__(self, shape: CausalTransformerShape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.self_attn = _Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.mlp = _Gated(shape)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), turns)
        found: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return found


class _Attention(nn.Module):
    def __init__(self, shape: CausalTransformerShape) -> None:
        super().__init__()
        self.shape = shape
        width, shared = shape.hidden_size, shape.num_key_value_heads * shape.head_size
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, shared, bias=False)
        self.v_proj = nn.Linear(width, shared, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        each = (*hidden.shape[:2], -1, self.shape.head_size)
        query, key, value = (
            one(hidden).view(each).transpose(1, 2) for one in (self.q_proj, self.k_proj, self.v_proj)
        )  # (b, heads, t, head size)
        query, key = _turned(query, turns), _turned(key, turns)
        shared = self.shape.num_attention_heads // self.shape.num_key_value_heads
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        # Written out: torch's fused kernels have no derivative in forward mode, which influence and datamodels need.
        scores = query @ key.transpose(-1, -2) / self.shape.head_size**0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
        found: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(hidden.shape))
        return found


class _Gated(nn.Module):
    def __init__(self, shape: CausalTransformerShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.down_proj(silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return found


def _turns(length: int, shape: CausalTransformerShape, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (t, head size) of the angle by which each place turns each pair of numbers."""
    pairs = torch.arange(0, shape.head_size, 2, device=like.device).float() / shape.head_size
    angles = torch.arange(length, device=like.device).float()[:, None] / shape.rope_theta**pairs
    both = torch.cat([angles, angles], -1)
    return both.cos().to(like), both.sin().to(like)


def _turned(states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    first, second = states.chunk(2, -1)
    return states * turns[0] + torch.cat([-second, first], -1) * turns[1]
