"""Language models as `peft` and `transformers` load them: a `LlamaForCausalLM` or `GPT2LMHeadModel`, and adapters on it.

Only names change, and for GPT-2 what `transformers` keeps there: matrices transposed, and query, key and value in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from core.domain.model import NodeRecipe
from core.modelling import gpt2, llama
from core.modelling.ensemble import NodeChain
from core.modelling.gpt2 import Gpt2
from core.modelling.language_transformer import TOKENIZER, LanguageTransformer
from core.modelling.llama import Llama
from core.modelling.peft_adapters import Files, as_json, lora_directory
from core.modelling.tensors import NamedTensors, to_bytes

LANGUAGE_CODE = '''import json

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


def answer(directory, texts):
    """Return for each text (tokens, vocabulary) logits of the token after each of its tokens."""
    with open(f"{directory}/lethe.json") as file:
        about = json.load(file)
    tokenizer = Tokenizer.from_file(f"{directory}/backbone/tokenizer.json")
    first = [] if about["first_token"] is None else [about["first_token"]]
    rows = [first + tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    logits = [0] * len(rows)
    for chain in about["chains"]:
        model = AutoModelForCausalLM.from_pretrained(f"{directory}/backbone")
        if chain["directory"] != "backbone":
            model = PeftModel.from_pretrained(model, f"{directory}/{chain['directory']}")
        model.eval()
        for number, row in enumerate(rows):
            with torch.no_grad():
                said = model(input_ids=torch.tensor([row[: about["tokens"]]])).logits[0]
            logits[number] = logits[number] + chain["weight"] * said
    return logits
'''

Writers = tuple[Callable[[LanguageTransformer], Files], Callable[[NodeChain, NodeRecipe, str], Files]]
"""What writes a backbone's directory, and one served chain's beside it."""


def writers(backbone: LanguageTransformer) -> Writers:
    """Return what writes models of this family."""
    return WRITERS[type(backbone)]


def llama_directory(backbone: LanguageTransformer) -> Files:
    """Return the files of a directory that `LlamaForCausalLM.from_pretrained` loads, and Lethe as well."""
    tensors, decided = backbone.tensors, backbone.config
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": backbone.shape.width,
        "num_hidden_layers": backbone.shape.layers,
        "num_attention_heads": decided["heads"],
        "num_key_value_heads": decided["key_value_heads"],
        "head_dim": decided["head_width"],
        "intermediate_size": len(tensors["layer.0.up.weight"]),
        "hidden_act": "silu",
        "rms_norm_eps": decided["norm_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": decided["places_base"]},
        "max_position_embeddings": decided["positions"],
        "attention_bias": "layer.0.q.bias" in tensors,
        "mlp_bias": False,
    }
    weights = {theirs: tensors[ours] for ours, theirs in llama.WHOLE.items()}
    for name, tensor in tensors.items():
        if name.startswith("layer."):
            _, layer, part, kind = name.split(".")
            weights[f"model.layers.{layer}.{llama.LAYER[part]}.{kind}"] = tensor
    return _directory(backbone, config, weights)


def llama_adapter(chain: NodeChain, recipe: NodeRecipe, base: str) -> Files:
    """Return one served chain for `LlamaForCausalLM`; see `lora_directory`."""
    modules = {f"model.layers.{{layer}}.{llama.LAYER[name]}": (name,) for name in Llama.projections}
    return lora_directory(chain, recipe, base, modules)


def gpt2_directory(backbone: LanguageTransformer) -> Files:
    """Return the files of a directory that `GPT2LMHeadModel.from_pretrained` loads, and Lethe as well."""
    tensors, decided = backbone.tensors, backbone.config
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": backbone.shape.width,
        "n_layer": backbone.shape.layers,
        "n_head": decided["heads"],
        "n_inner": len(tensors["layer.0.up.weight"]),
        "n_positions": decided["positions"],
        "activation_function": "gelu_new",
        "layer_norm_epsilon": decided["norm_epsilon"],
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    weights = {theirs: tensors[ours] for ours, theirs in gpt2.WHOLE.items()}
    for layer in range(backbone.shape.layers):
        for kind in ("weight", "bias"):
            own = {name: tensors[f"layer.{layer}.{name}.{kind}"] for name in (*Gpt2.projections, *gpt2.NORMS)}
            # `to_bytes` writes what lies in one piece; of a bias, which has one dimension, the transpose is the bias.
            weights[f"h.{layer}.{gpt2.FUSED}.{kind}"] = torch.cat([own[name] for name in "qkv"]).t().contiguous()
            for name, part in gpt2.TRANSPOSED.items():
                weights[f"h.{layer}.{part}.{kind}"] = own[name].t().contiguous()
            for name, part in gpt2.NORMS.items():
                weights[f"h.{layer}.{part}.{kind}"] = own[name]
    return _directory(backbone, config, {gpt2.PREFIX + name: tensor for name, tensor in weights.items()})


def gpt2_adapter(chain: NodeChain, recipe: NodeRecipe, base: str) -> Files:
    """Return one served chain for `GPT2LMHeadModel`; see `lora_directory`."""
    layer = f"{gpt2.PREFIX}h.{{layer}}."
    modules: dict[str, tuple[str, ...]] = {layer + gpt2.FUSED: ("q", "k", "v")}
    modules |= {layer + part: (name,) for name, part in gpt2.TRANSPOSED.items()}
    return lora_directory(chain, recipe, base, modules, transposed=True)


WRITERS: Mapping[type[LanguageTransformer], Writers] = {
    Llama: (llama_directory, llama_adapter),
    Gpt2: (gpt2_directory, gpt2_adapter),
}


def _directory(backbone: LanguageTransformer, config: Mapping[str, Any], weights: NamedTensors) -> Files:
    """Return a directory's files, from what is a family's own of config and weights."""
    tensors, head = backbone.tensors, "lm_head.weight"
    shared = {
        "tie_word_embeddings": head not in tensors,
        "vocab_size": len(tensors["words"]),
        "bos_token_id": backbone.config["first"],
        "eos_token_id": backbone.config["last"],
        "dtype": "float32",
    }
    return {
        "config.json": as_json({**config, **shared}),
        "model.safetensors": to_bytes(weights | {name: tensors[name] for name in (head,) if name in tensors}),
        "tokenizer.json": tensors[TOKENIZER].numpy().tobytes(),
    }
