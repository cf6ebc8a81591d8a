"""Which family a language model's directory is of, and its tensors under our names.

A new family is one file with a `LanguageTransformer`, a line here, what its config.json must say in `adopt_encoder`, and how it
is written in `peft_language`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import load
from tokenizers import Tokenizer

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling import gpt2
from core.modelling.gpt2 import Gpt2
from core.modelling.language_transformer import (
    CONFIG,
    TOKENIZER,
    LanguageTransformer,
    LanguageTransformerShape,
    decided,
)
from core.modelling.llama import Llama
from core.modelling.tensors import NamedTensors, bytes_tensor

LLAMA = "llama"
MODELS: Mapping[str, type[LanguageTransformer]] = {LLAMA: Llama, gpt2.FAMILY: Gpt2}
"""By the `model_type` of a config.json."""


def language_shape(tensors: NamedTensors, recipe: BackboneRecipe) -> LanguageTransformerShape:
    """Return the shape of these tensors, run as the recipe says."""
    return LanguageTransformerShape.of(MODELS[decided(tensors).get("family", LLAMA)], tensors, recipe)


def read_language_model(files: Mapping[str, bytes], *, layers: int) -> NamedTensors:
    """Return the tensors of a directory's files under our names, with its tokenizer and what its config decides.

    Raises:
        Impossible: the files lack a tensor or a number, are not of one model, or the tokenizer cannot be read.
    """
    theirs, config = load(files["model.safetensors"]), json.loads(files["config.json"])
    model = MODELS[config.get("model_type", LLAMA)]
    try:
        found, numbers = model.taken(theirs, layers), model.decided(config)
        if "lm_head.weight" in theirs or not config.get("tie_word_embeddings", model.tied):
            found["lm_head.weight"] = theirs["lm_head.weight"].to(torch.float32)
    except KeyError:
        raise Impossible(f"the directory's files lack a tensor or a number of a {model.title} model") from None
    # Cloned: the loader's tensors are views into the file, aligned by accident, and kernels round by alignment.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    try:
        Tokenizer.from_str(files["tokenizer.json"].decode())
    except Exception as error:  # noqa: BLE001 - the tokenizer's own errors have no class of their own
        raise Impossible(f"the directory's tokenizer.json cannot be read ({type(error).__name__})") from None
    marks = [numbers[name] for name in ("first", "last") if numbers[name] is not None]
    fits = model.fits({name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}, numbers)
    fits = fits and tensors.get("lm_head.weight", tensors["words"]).shape == tensors["words"].shape
    if not fits or not all(0 <= mark < len(tensors["words"]) for mark in marks):
        raise Impossible(f"the directory's config.json and its tensors are not of one {model.title} model")
    compact = json.dumps(json.loads(files["tokenizer.json"]), ensure_ascii=False).encode()
    return tensors | {
        TOKENIZER: bytes_tensor(compact),
        CONFIG: bytes_tensor(json.dumps(numbers, sort_keys=True).encode()),
    }
