"""A decoder from a directory as Hugging Face writes them: frozen, with low-rank factors and no head of a node's own.

    text ──tokenizer──▶ token ids ──words──▶ states ──layers──▶ last norm ──frozen lm_head──▶ next tokens

What every family of them shares; `llama` and `gpt2` say how theirs reads words, norms and mixes, and `language_models` which
family a directory is of. Texts are filled up at their end, and a token looks at earlier ones only, so what fills up moves
nothing that is read. Tokenizer and the numbers of config.json that decide the arithmetic lie among the tensors, as bytes: they
are part of what the backbone's digest stands for.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.adapters import Adapters, folded_in
from core.modelling.layers import LayerWeights
from core.modelling.losses import UNTRAINED
from core.modelling.tensors import NamedTensors

TOKENIZER, CONFIG = "tokenizer", "config"


@dataclass(frozen=True, kw_only=True)
class LanguageTransformerShape:
    """All sizes of a language model; those that a recipe does not say are read off its tensors."""

    width: int
    layers: int
    heads: int
    tokens: int
    """How many tokens of a text are read; what is longer is cut."""
    sizes: Mapping[str, tuple[int, ...]]
    model: type[LanguageTransformer]
    """The family that it is of."""
    task: TaskName = TaskName.LANGUAGE

    @classmethod
    def of(
        cls, model: type[LanguageTransformer], tensors: NamedTensors, recipe: BackboneRecipe
    ) -> LanguageTransformerShape:
        """Return the shape of these tensors, run as the recipe says."""
        return cls(
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            tokens=min(recipe.tokens or 128, int(decided(tensors)["positions"])),
            sizes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
            model=model,
        )

    @property
    def state_width(self) -> int:
        return self.width

    @property
    def outputs(self) -> int:
        return self.sizes["words"][0]

    @property
    def input_shape(self) -> tuple[int]:
        return (self.tokens,)

    @property
    def tables(self) -> Collection[str]:
        return tuple(name for name in ("words", "positions") if name in self.sizes)

    @property
    def adapted(self) -> Mapping[str, tuple[int, int]]:
        shapes = {name: self.sizes[f"layer.0.{name}.weight"] for name in self.model.projections}
        return {name: (rows, columns) for name, (rows, columns) in shapes.items()}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.sizes)

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:  # noqa: ARG002
        return inputs

    def backbone(self, tensors: NamedTensors) -> LanguageTransformer:
        return self.model(self, tensors)


@dataclass(frozen=True)
class LanguageTransformer(ABC):
    """A backbone that says which token comes next; a subclass is a family."""

    shape: LanguageTransformerShape
    tensors: NamedTensors
    title: ClassVar[str]
    """What errors call it."""
    projections: ClassVar[tuple[str, ...]]
    """Those that nodes put factors on, in the order in which chance fills them."""
    mlp_in: ClassVar[tuple[str, ...]]
    """Which of them the MLP multiplies by first, in one product."""
    tied: ClassVar[bool]
    """Whether words are the head as well where a config.json does not say."""

    @staticmethod
    @abstractmethod
    def decided(config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a config.json decides the arithmetic, under our names.

        Every family has `heads`, `key_value_heads`, `head_width`, `norm_epsilon`, `positions`, and the marks `first` and `last`.

        Raises:
            KeyError: it lacks a number.
        """

    @staticmethod
    @abstractmethod
    def taken(theirs: NamedTensors, layers: int) -> NamedTensors:
        """Return a file's tensors under our names, each weight (rows, columns), in full precision; without the head.

        Raises:
            KeyError: it lacks a tensor.
        """

    @staticmethod
    @abstractmethod
    def fits(tensors: NamedTensors, decided: Mapping[str, Any]) -> bool:
        """Return whether tensors and the numbers of a config.json can be of one model."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What config.json decides: see `decided`."""
        return decided(self.tensors)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own; marks at the ends are put there by `_sequence`, not by it."""
        found = Tokenizer.from_str(bytes(self.tensors[TOKENIZER].numpy()).decode())
        found.no_truncation()
        found.no_padding()
        return found

    def token_ids(self, prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Return (n, tokens) int64: what is read, filled up with token 0."""
        return self._filled([ids[:-1] for ids, _ in self._sequences(prompts, texts)], 0)

    def next_tokens(self, prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Return (n, tokens) int64: the token after each, `UNTRAINED` where it belongs to a prompt or fills up."""
        rows = [[UNTRAINED] * (learned - 1) + ids[learned:] for ids, learned in self._sequences(prompts, texts)]
        return self._filled(rows, UNTRAINED)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the ids of a prompt to go on from, at least one; its end is kept where it is too long."""
        ids = self._marks("first") + self.tokenizer.encode(prompt, add_special_tokens=False).ids
        return (ids or [0])[-self.shape.tokens :]

    def _sequences(self, prompts: Sequence[str], texts: Sequence[str]) -> list[tuple[list[int], int]]:
        """Return per row its ids, one more than are read, and how many at their beginning are not learned."""
        before = self.tokenizer.encode_batch(list(prompts), add_special_tokens=False)
        after = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        first, last = self._marks("first"), self._marks("last")
        longest = self.shape.tokens + 1
        rows = []
        for prompt, text in zip(before, after, strict=True):
            ids = [*first, *prompt.ids, *text.ids, *last][:longest]
            rows.append((ids, min(max(1, len(first) + len(prompt.ids)), len(ids))))
        return rows

    def _marks(self, name: str) -> list[int]:
        return [] if self.config[name] is None else [int(self.config[name])]

    def _filled(self, rows: list[list[int]], filling: int) -> Tensor:
        full = [row + [filling] * (self.shape.tokens - len(row)) for row in rows]
        return torch.tensor(full, dtype=torch.int64).reshape(-1, self.shape.tokens)

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width) states at boundary 0 for (n, tokens) token ids; there may be fewer tokens."""
        return embedding(inputs, self.tensors["words"])

    def folded(self, layers: range, adapters: Adapters, scale: float) -> tuple[LayerWeights, ...]:
        """Return what each of these layers multiplies by, factors folded in where there are any."""
        return tuple(self._layer(layer, adapters, scale) for layer in layers)

    def run(self, hidden: Tensor, weights: Iterable[LayerWeights]) -> Tensor:
        """Return (n, tokens, width) states after these layers."""
        for layer in weights:
            hidden = hidden + linear(self._attended(self._norm(hidden, layer.attention_norm), layer), *layer.o)
            inner = self._activated(linear(self._norm(hidden, layer.mlp_norm), *layer.mlp_in))
            hidden = hidden + linear(inner, *layer.mlp_out)
        return hidden

    def top_features(self, hidden: Tensor, weights: Sequence[LayerWeights]) -> Tensor:
        """Return (n, tokens, width) features from states below the topmost layers, whose weights are given."""
        return self.features(self.run(hidden, weights))

    def features(self, hidden: Tensor) -> Tensor:
        """Return (n, tokens, width): what the frozen lm_head reads at every token."""
        return self._norm(hidden, self._norm_pair("norm"))

    @abstractmethod
    def _norm(self, states: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Return normed states; the pair is a weight and a bias, or a weight twice where the family has none."""

    @abstractmethod
    def _activated(self, states: Tensor) -> Tensor:
        """Return (n, tokens, inner) what the MLP multiplies by last, from what `mlp_in` gave."""

    def _placed(self, states: Tensor) -> Tensor:
        """Return (n, heads, tokens, size) queries or keys that know their places; here the words knew them already."""
        return states

    def _attended(self, states: Tensor, layer: LayerWeights) -> Tensor:
        size, shared = int(self.config["head_width"]), int(self.config["key_value_heads"])
        heads = self.shape.heads
        parts = torch.split(linear(states, *layer.qkv), [heads * size, shared * size, shared * size], dim=2)
        query, key, value = (part.view(*part.shape[:2], -1, size).transpose(1, 2) for part in parts)
        query, key = self._placed(query), self._placed(key)
        if shared != heads:
            key, value = (part.repeat_interleave(heads // shared, dim=1) for part in (key, value))
        return scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)

    def _layer(self, layer: int, adapters: Adapters, scale: float) -> LayerWeights:
        adapter, pairs = adapters.get(layer), {}
        for name in self.projections:
            weight = folded_in(self.tensors[f"layer.{layer}.{name}.weight"], adapter, name, scale)
            bias = self.tensors.get(f"layer.{layer}.{name}.bias")
            pairs[name] = (weight, weight.new_zeros(len(weight)) if bias is None else bias)
        return LayerWeights(
            attention_norm=self._norm_pair(f"layer.{layer}.attention_norm"),
            qkv=_joined([pairs[name] for name in "qkv"]),
            o=pairs["o"],
            mlp_norm=self._norm_pair(f"layer.{layer}.mlp_norm"),
            mlp_in=_joined([pairs[name] for name in self.mlp_in]),
            mlp_out=pairs["down"],
        )

    def _norm_pair(self, name: str) -> tuple[Tensor, Tensor]:
        weight = self.tensors[f"{name}.weight"]
        return weight, self.tensors.get(f"{name}.bias", weight)


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(pairs) == 1:
        return pairs[0]
    weights, biases = zip(*pairs, strict=True)
    return torch.cat(weights), torch.cat(biases)


def decided(tensors: NamedTensors) -> dict[str, Any]:
    """Return what the config.json decided that these tensors were read with."""
    found: dict[str, Any] = json.loads(bytes(tensors[CONFIG].numpy()))
    return found


def one_mark(token: Any) -> int | None:
    """Return the first of what may be a list of tokens."""
    found = token[0] if isinstance(token, list) and token else token
    return None if found is None or isinstance(found, list) else int(found)
