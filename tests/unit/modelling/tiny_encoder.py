"""A directory as Hugging Face writes them, small and random: a tokenizer of twenty words and a BERT of four layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = [
    "good",
    "bad",
    "fine",
    "poor",
    "great",
    "awful",
    "nice",
    "sad",
    "the",
    "a",
    "film",
    "play",
    "is",
    "was",
    "not",
    "very",
    "it",
    "and",
    "of",
    "to",
]
WIDTH, LAYERS, HEADS, INNER, POSITIONS = 16, 4, 2, 32, 24
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "vocab_size": len(WORDS) + 4,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def write_encoder(directory: Path, *, seed: int = 0, prefix: str = "", **changed: Any) -> Path:
    """Write config, weights and tokenizer into a directory, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | changed))
    chance = torch.Generator().manual_seed(seed)
    weights = {
        prefix + name: (torch.ones(size) if name.endswith("LayerNorm.weight") else torch.zeros(size))
        + 0.3 * torch.randn(size, generator=chance)
        for name, size in sizes().items()
    }
    save_file(weights, directory / "model.safetensors")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def sizes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS) + 4, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    squares = {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"}
    parts = dict.fromkeys(sorted(squares), (WIDTH, WIDTH))
    parts |= {"intermediate.dense": (INNER, WIDTH), "output.dense": (WIDTH, INNER)}
    for layer in range(LAYERS):
        for part, size in parts.items():
            found[f"encoder.layer.{layer}.{part}.weight"] = size
            found[f"encoder.layer.{layer}.{part}.bias"] = size[:1]
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            found[f"encoder.layer.{layer}.{part}.weight"] = (WIDTH,)
            found[f"encoder.layer.{layer}.{part}.bias"] = (WIDTH,)
    return found
