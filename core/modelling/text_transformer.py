"""A BERT-like encoder from a directory as Hugging Face writes them (arXiv:1810.04805): frozen, its norms come last.

    text ──tokenizer──▶ token ids ──words + positions──▶ states ──layers──▶ the mean of a text's own tokens

A state has one number more than the encoder is wide: 0 for a token of the text, 1 for one that fills up to the fixed
length. So the mask travels with the states, and what is above needs to know nothing of it. Query, key and value are one
product and factors are folded in, as in the other transformers. The tokenizer lies among the tensors, as bytes: it is part
of what the backbone's digest stands for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import embedding, gelu, linear

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.adapters import Adapters, query_and_value
from core.modelling.layers import LayerWeights, attend, norm
from core.modelling.tensors import NamedTensors, bytes_tensor

TOKENIZER = "tokenizer"
EMBEDDINGS = {
    "words": "embeddings.word_embeddings.weight",
    "positions": "embeddings.position_embeddings.weight",
    "types": "embeddings.token_type_embeddings.weight",
    "embedding_norm.weight": "embeddings.LayerNorm.weight",
    "embedding_norm.bias": "embeddings.LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp_in": "intermediate.dense",
    "mlp_out": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
"""Our names of a layer's parts, and those of Hugging Face's BERT."""


@dataclass(frozen=True, kw_only=True)
class TextTransformerShape:
    """All sizes of a text encoder; those that a recipe does not say are read off its tensors."""

    width: int
    layers: int
    heads: int
    outputs: int
    tokens: int
    """How many tokens of a text are read; what is longer is cut."""
    sizes: Mapping[str, tuple[int, ...]]
    task: TaskName = TaskName.CLASSIFICATION

    @classmethod
    def of(cls, tensors: NamedTensors, recipe: BackboneRecipe, outputs: int) -> TextTransformerShape:
        """Return the shape of these tensors, run as the recipe says."""
        return cls(
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            outputs=outputs,
            tokens=min(recipe.tokens or 128, len(tensors["positions"])),
            sizes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        )

    @property
    def state_width(self) -> int:
        return self.width + 1

    @property
    def input_shape(self) -> tuple[int]:
        return (self.tokens,)

    @property
    def tables(self) -> Collection[str]:
        return ()

    @property
    def adapted(self) -> Mapping[str, tuple[int, int]]:
        return query_and_value(self.width)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.sizes)

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:  # noqa: ARG002
        return inputs

    def backbone(self, tensors: NamedTensors) -> TextTransformer:
        return TextTransformer(self, tensors)


@dataclass(frozen=True)
class TextTransformer:
    """A backbone for texts."""

    shape: TextTransformerShape
    tensors: NamedTensors

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The encoder's own, cutting and filling up every text to one length."""
        found = Tokenizer.from_str(bytes(self.tensors[TOKENIZER].numpy()).decode())
        found.enable_truncation(self.shape.tokens)
        found.enable_padding(length=self.shape.tokens, pad_id=_padding(found), pad_token="[PAD]")  # noqa: S106
        return found

    def token_ids(self, texts: Iterable[str]) -> Tensor:
        """Return (n, tokens) int64."""
        encoded = self.tokenizer.encode_batch(list(texts))
        return torch.tensor([one.ids for one in encoded], dtype=torch.int64).reshape(-1, self.shape.tokens)

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width + 1) states at boundary 0 for (n, tokens) token ids."""
        summed = embedding(inputs, self.tensors["words"]) + self.tensors["types"][0]
        states = norm(summed + self.tensors["positions"][: inputs.shape[1]], self._pair("embedding_norm"))
        filling = (inputs == _padding(self.tokenizer)).to(states.dtype)
        return torch.cat((states, filling[:, :, None]), dim=2)

    def folded(self, layers: range, adapters: Adapters, scale: float) -> tuple[LayerWeights, ...]:
        """Return what each of these layers multiplies by, factors folded in where there are any."""
        return tuple(self._layer(layer, adapters, scale) for layer in layers)

    def run(self, hidden: Tensor, weights: Iterable[LayerWeights]) -> Tensor:
        """Return (n, tokens, width + 1) states after these layers."""
        states, filling = hidden[:, :, :-1], hidden[:, :, -1:]
        mask = (filling[:, None, None, :, 0] == 0).expand(-1, -1, hidden.shape[1], -1)
        for layer in weights:
            query, key, value = linear(states, *layer.qkv).chunk(3, dim=2)
            attended = attend(query, key, value, self.shape.heads, mask=mask)
            states = norm(states + linear(attended, *layer.o), layer.attention_norm)
            inner = gelu(linear(states, *layer.mlp_in))
            states = norm(states + linear(inner, *layer.mlp_out), layer.mlp_norm)
        return torch.cat((states, filling), dim=2)

    def top_features(self, hidden: Tensor, weights: Sequence[LayerWeights]) -> Tensor:
        """Return (n, width) features from states below the topmost layers, whose weights are given."""
        return self.features(self.run(hidden, weights))

    def features(self, hidden: Tensor) -> Tensor:
        """Return (n, width): the mean over each text's own tokens, as sentence encoders are read."""
        own = 1 - hidden[:, :, -1:]
        return (hidden[:, :, :-1] * own).sum(dim=1) / own.sum(dim=1).clamp(min=1)

    def _layer(self, layer: int, adapters: Adapters, scale: float) -> LayerWeights:
        pairs = {name: self._pair(f"layer.{layer}.{name}") for name in LAYER}
        q, k, v = (pairs.pop(name) for name in "qkv")
        adapter = adapters.get(layer)
        if adapter is not None:
            q = (torch.addmm(q[0], adapter.q_b, adapter.q_a, alpha=scale), q[1])
            v = (torch.addmm(v[0], adapter.v_b, adapter.v_a, alpha=scale), v[1])
        return LayerWeights(qkv=(torch.cat((q[0], k[0], v[0])), torch.cat((q[1], k[1], v[1]))), **pairs)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def read_encoder(files: Mapping[str, bytes], *, layers: int, outputs: int) -> NamedTensors:
    """Return the tensors of an encoder's files under our names, with its tokenizer and a silent public head.

    Raises:
        Impossible: the files lack a tensor, or its tokenizer cannot be read.
    """
    theirs = load(files["model.safetensors"])
    prefix = "bert." if any(name.startswith("bert.") for name in theirs) else ""
    names = dict(EMBEDDINGS)
    for layer in range(layers):
        for ours, part in LAYER.items():
            for kind in ("weight", "bias"):
                names[f"layer.{layer}.{ours}.{kind}"] = f"encoder.layer.{layer}.{part}.{kind}"
    try:
        # Cloned: the loader's tensors are views into the file, aligned by accident, and kernels round by alignment.
        tensors = {ours: theirs[prefix + name].to(torch.float32).clone() for ours, name in names.items()}
        Tokenizer.from_str(files["tokenizer.json"].decode())
    except KeyError:
        raise Impossible("the directory's model.safetensors lacks a tensor of a BERT encoder") from None
    except Exception as error:  # noqa: BLE001 - the tokenizer's own errors have no class of their own
        raise Impossible(f"the directory's tokenizer.json cannot be read ({type(error).__name__})") from None
    width = tensors["words"].shape[1]
    head: dict[str, Any] = {"head.weight": torch.zeros(outputs, width), "head.bias": torch.zeros(outputs)}
    compact = json.dumps(json.loads(files["tokenizer.json"]), ensure_ascii=False).encode()
    return tensors | head | {TOKENIZER: bytes_tensor(compact)}


def _padding(tokenizer: Tokenizer) -> int:
    return tokenizer.token_to_id("[PAD]") or 0
