"""A language model's directory as Hugging Face writes them, small and random: four layers whose heads share keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.unit.modelling.tiny_encoder import WORDS

WIDTH, LAYERS, HEADS, SHARED, HEAD_WIDTH, INNER, POSITIONS = 16, 4, 4, 2, 4, 24, 32
FIRST, LAST = 2, 3
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": SHARED,
    "head_dim": HEAD_WIDTH,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    "rms_norm_eps": 1e-5,
    "vocab_size": len(WORDS) + 4,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": FIRST,
    "eos_token_id": LAST,
}


def write_language_model(directory: Path, *, seed: int = 0, tied: bool = False, **changed: Any) -> Path:
    """Write config, weights and tokenizer into a directory, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | {"tie_word_embeddings": tied} | changed))
    chance = torch.Generator().manual_seed(seed)
    weights = {
        name: (1.0 if name.endswith("norm.weight") else 0.0) + 0.3 * torch.randn(size, generator=chance)
        for name, size in sizes(tied=tied).items()
    }
    save_file(weights, directory / "model.safetensors")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def sizes(*, tied: bool) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (len(WORDS) + 4, WIDTH)}
    inner, shared = HEADS * HEAD_WIDTH, SHARED * HEAD_WIDTH
    parts = {
        "self_attn.q_proj": (inner, WIDTH),
        "self_attn.k_proj": (shared, WIDTH),
        "self_attn.v_proj": (shared, WIDTH),
        "self_attn.o_proj": (WIDTH, inner),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
        "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,),
    }
    for layer in range(LAYERS):
        found |= {f"model.layers.{layer}.{part}.weight": size for part, size in parts.items()}
    found["model.norm.weight"] = (WIDTH,)
    return found if tied else found | {"lm_head.weight": (len(WORDS) + 4, WIDTH)}
