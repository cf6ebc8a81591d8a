"""Models of texts as `peft` and `transformers` load them; only names change.

A text classifier is a `BertModel`, whose pooling and head no class of `transformers` has: its head lies in each chain's
directory as `head.safetensors`.
"""

from __future__ import annotations

from core.domain.model import NodeRecipe
from core.modelling import text_transformer as bert
from core.modelling.ensemble import NodeChain
from core.modelling.layers import NORM_EPSILON
from core.modelling.peft_adapters import Files, as_json, lora_directory
from core.modelling.tensors import NamedTensors, to_bytes
from core.modelling.text_transformer import TextTransformer

HEAD_FILE = "head.safetensors"
TEXT_CODE = '''import json

import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertModel


def answer(directory, texts):
    """Return (n, labels) logits of n texts."""
    with open(f"{directory}/lethe.json") as file:
        about = json.load(file)
    tokenizer = Tokenizer.from_file(f"{directory}/backbone/tokenizer.json")
    padding = tokenizer.token_to_id("[PAD]") or 0
    tokenizer.enable_truncation(about["tokens"])
    tokenizer.enable_padding(length=about["tokens"], pad_id=padding, pad_token="[PAD]")
    ids = torch.tensor([one.ids for one in tokenizer.encode_batch(list(texts))])
    own = (ids != padding).long()
    logits = 0
    for chain in about["chains"]:
        model = BertModel.from_pretrained(f"{directory}/backbone", add_pooling_layer=False)
        if chain["directory"] != "backbone":
            model = PeftModel.from_pretrained(model, f"{directory}/{chain['directory']}")
        head = load_file(f"{directory}/{chain['directory']}/head.safetensors")
        with torch.no_grad():
            states = model.eval()(input_ids=ids, attention_mask=own).last_hidden_state
        mean = (states * own[:, :, None]).sum(1) / own.sum(1, keepdim=True).clamp(min=1)
        logits = logits + chain["weight"] * (mean @ head["head.weight"].T + head["head.bias"])
    return logits
'''


def bert_directory(backbone: TextTransformer) -> Files:
    """Return the files of a directory that `BertModel.from_pretrained` loads, with the public head beside them."""
    shape, tensors = backbone.shape, backbone.tensors
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": len(tensors["layer.0.mlp_in.weight"]),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": NORM_EPSILON,
        "max_position_embeddings": len(tensors["positions"]),
        "type_vocab_size": len(tensors["types"]),
        "vocab_size": len(tensors["words"]),
        "pad_token_id": 0,
        "dtype": "float32",
    }
    weights = {theirs: tensors[ours] for ours, theirs in bert.EMBEDDINGS.items()}
    for layer in range(shape.layers):
        for ours, part in bert.LAYER.items():
            for kind in ("weight", "bias"):
                weights[f"encoder.layer.{layer}.{part}.{kind}"] = tensors[f"layer.{layer}.{ours}.{kind}"]
    return {
        "config.json": as_json(config),
        "model.safetensors": to_bytes(weights),
        "tokenizer.json": tensors[bert.TOKENIZER].numpy().tobytes(),
        HEAD_FILE: to_bytes(_head(tensors)),
    }


def bert_adapter(chain: NodeChain, recipe: NodeRecipe, base: str) -> Files:
    """Return one served chain for `BertModel`, and its head; see `lora_directory`."""
    modules = {f"encoder.layer.{{layer}}.{bert.LAYER[name]}": (name,) for name in "qv"}
    return {**lora_directory(chain, recipe, base, modules), HEAD_FILE: to_bytes(_head(chain[-1]))}


def _head(tensors: NamedTensors) -> NamedTensors:
    return {name: tensors[name] for name in ("head.weight", "head.bias")}
