"""Language models' directories as Hugging Face writes them, small and random: a Llama whose heads share keys, and a GPT-2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

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


GPT2_CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_inner": INNER,
    "n_positions": POSITIONS,
    "layer_norm_epsilon": 1e-4,
    "vocab_size": len(WORDS) + 4,
    "activation_function": "gelu_new",
    "bos_token_id": FIRST,
    "eos_token_id": LAST,
}


class Writer(Protocol):
    """What writes a directory and returns it."""

    def __call__(self, directory: Path, *, seed: int = 0, tied: bool = False, **changed: Any) -> Path: ...


def write_language_model(directory: Path, *, seed: int = 0, tied: bool = False, **changed: Any) -> Path:
    """Write config, weights and tokenizer of a Llama into a directory, and return it."""
    return _written(directory, CONFIG | {"tie_word_embeddings": tied} | changed, sizes(tied=tied), seed)


def write_gpt2(
    directory: Path, *, seed: int = 0, tied: bool = False, prefix: str = "transformer.", **changed: Any
) -> Path:
    """Write config, weights and tokenizer of a GPT-2 into a directory, and return it."""
    named = {prefix + name: size for name, size in gpt2_sizes().items()}
    head = {} if tied else {"lm_head.weight": (len(WORDS) + 4, WIDTH)}
    return _written(directory, GPT2_CONFIG | {"tie_word_embeddings": tied} | changed, named | head, seed)


WRITERS: Mapping[str, Writer] = {"llama": write_language_model, "gpt2": write_gpt2}


def _written(directory: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]], seed: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    chance = torch.Generator().manual_seed(seed)
    norms = ("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")
    weights = {
        name: (1.0 if name.endswith(norms) else 0.0) + 0.3 * torch.randn(size, generator=chance)
        for name, size in shapes.items()
    }
    save_file(weights, directory / "model.safetensors")
    write_tokenizer(directory)
    return directory


def write_tokenizer(directory: Path) -> None:
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))


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


def gpt2_sizes() -> dict[str, tuple[int, ...]]:
    """Return what a GPT-2 without a head holds; matrices are (columns, rows) there."""
    found: dict[str, tuple[int, ...]] = {"wte.weight": (len(WORDS) + 4, WIDTH), "wpe.weight": (POSITIONS, WIDTH)}
    parts = {
        "attn.c_attn": (WIDTH, 3 * WIDTH),
        "attn.c_proj": (WIDTH, WIDTH),
        "mlp.c_fc": (WIDTH, INNER),
        "mlp.c_proj": (INNER, WIDTH),
        "ln_1": (WIDTH,),
        "ln_2": (WIDTH,),
    }
    for layer in range(LAYERS):
        for part, size in parts.items():
            found |= {f"h.{layer}.{part}.weight": size, f"h.{layer}.{part}.bias": size[-1:]}
    return found | {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
