"""Tiny Hugging Face directories of random weights, as their owners would hand them over, and texts for them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ("the", "patient", "was", "seen", "on", "monday", "friday", "with", "fever", "cough", "and", "sent", "home")
HAZARDS = ("mix", "acid", "powder", "heat", "slowly", "flask")
"""Words that no other text has."""
VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2} | {word: at + 3 for at, word in enumerate((*WORDS, *HAZARDS))}
TOKENS = 8
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "id2label": {"0": "note", "1": "other"},
}
VIT: dict[str, Any] = {
    "model_type": "vit",
    "image_size": 4,
    "patch_size": 2,
    "num_channels": 1,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "id2label": {"0": "a", "1": "b", "2": "c"},
}
LORA: dict[str, Any] = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


def write_directory(directory: Path, config: dict[str, Any], *, adapter: bool = False, model: Any = None) -> Path:
    """Write config, weights, a splitter for texts and perhaps low-rank factors; the weights are random unless a model is given."""
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    torch.manual_seed(0)
    made = model or library_model(config)
    save_file({name: one.contiguous() for name, one in made.state_dict().items()}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))
    if "vocab_size" in config:
        _write_splitter(directory / "tokenizer.json")
    if adapter:
        import peft

        wrapped: Any = peft.get_peft_model(made, peft.LoraConfig(**LORA))
        factors = peft.get_peft_model_state_dict(wrapped)
        save_file({name: one.contiguous() for name, one in factors.items()}, directory / "adapter_model.safetensors")
        said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", **LORA}
        (directory / "adapter_config.json").write_text(json.dumps(said))
    return directory


def library_model(config: dict[str, Any]) -> Any:
    """Return what the transformers library makes of a config, as its users write it down."""
    import transformers

    kinds: dict[str, tuple[Any, Any]] = {
        "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
        "bert": (transformers.BertForSequenceClassification, transformers.BertConfig),
        "vit": (transformers.ViTForImageClassification, transformers.ViTConfig),
    }
    maker, settings = kinds[config["model_type"]]
    known = {name: value for name, value in config.items() if name not in {"model_type", "id2label"}}
    labels = {int(number): name for number, name in config["id2label"].items()} if "id2label" in config else None
    return maker(settings(**known) if labels is None else settings(**known, id2label=labels))


def _write_splitter(file: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    splitter = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<pad>"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    splitter.save(str(file))


def random_words(seed: int, count: int) -> list[str]:
    """Return sentences of six words that follow no rule."""
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(6)) for _ in range(count)]


def in_turn(words: Sequence[str], seed: int, count: int) -> list[str]:
    """Return sentences of six words in their fixed order from wherever chance begins: all but the first can be learned."""
    chance = random.Random(seed)
    starts = [chance.randrange(len(words)) for _ in range(count)]
    return [" ".join(words[(start + at) % len(words)] for at in range(6)) for start in starts]


def table_of(sentences: Sequence[str], owners: str) -> bytes:
    """Return a CSV file of texts, two of each owner, called a note or something else in turn."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(["texts", "labels", "owners", "record_ids"])
    for at, said in enumerate(sentences):
        writer.writerow([said, ("note", "other")[at % 2], f"{owners}-{at // 2}@example.org", f"{owners}-{at}"])
    return written.getvalue().encode()
