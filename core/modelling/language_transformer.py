"""A Llama-like decoder from a directory as Hugging Face writes them (arXiv:2302.13971): frozen, no head of a node's own.

    text ──tokenizer──▶ token ids ──words──▶ states ──layers──▶ root-mean-square norm ──frozen lm_head──▶ next tokens

Texts are filled up at their end, and a token looks at earlier ones only, so what fills up moves nothing that is read. Places
are turned into queries and keys (arXiv:2104.09864); keys and values may be shared among heads (arXiv:2305.13245). Tokenizer
and the numbers of config.json that decide the arithmetic lie among the tensors, as bytes: they are part of what the
backbone's digest stands for.
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
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.adapters import Adapters, folded_in
from core.modelling.layers import LayerWeights
from core.modelling.losses import UNTRAINED
from core.modelling.tensors import NamedTensors

TOKENIZER, CONFIG = "tokenizer", "config"
WHOLE = {"words": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
LAYER = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}
"""Our names of a layer's parts, and those of Hugging Face's Llama."""
PROJECTIONS = ("q", "k", "v", "o", "up", "down", "gate")
"""Those that nodes put factors on, in the order in which chance fills them."""


@dataclass(frozen=True, kw_only=True)
class LanguageTransformerShape:
    """All sizes of a language model; those that a recipe does not say are read off its tensors."""

    width: int
    layers: int
    heads: int
    tokens: int
    """How many tokens of a text are read; what is longer is cut."""
    sizes: Mapping[str, tuple[int, ...]]
    task: TaskName = TaskName.LANGUAGE

    @classmethod
    def of(cls, tensors: NamedTensors, recipe: BackboneRecipe) -> LanguageTransformerShape:
        """Return the shape of these tensors, run as the recipe says."""
        return cls(
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            tokens=min(recipe.tokens or 128, int(_config(tensors)["positions"])),
            sizes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
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
        return ("words",)

    @property
    def adapted(self) -> Mapping[str, tuple[int, int]]:
        shapes = {name: self.sizes[f"layer.0.{name}.weight"] for name in PROJECTIONS}
        return {name: (rows, columns) for name, (rows, columns) in shapes.items()}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.sizes)

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:  # noqa: ARG002
        return inputs

    def backbone(self, tensors: NamedTensors) -> LanguageTransformer:
        return LanguageTransformer(self, tensors)


@dataclass(frozen=True)
class LanguageTransformer:
    """A backbone that says which token comes next."""

    shape: LanguageTransformerShape
    tensors: NamedTensors

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What config.json decides: sizes of a head, the base of places, the norm's epsilon, first and last token."""
        return _config(self.tensors)

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
            hidden = hidden + linear(self._attended(self._norm(hidden, layer.attention_norm[0]), layer), *layer.o)
            gate, up = linear(self._norm(hidden, layer.mlp_norm[0]), *layer.mlp_in).chunk(2, dim=2)
            hidden = hidden + linear(silu(gate) * up, *layer.mlp_out)
        return hidden

    def top_features(self, hidden: Tensor, weights: Sequence[LayerWeights]) -> Tensor:
        """Return (n, tokens, width) features from states below the topmost layers, whose weights are given."""
        return self.features(self.run(hidden, weights))

    def features(self, hidden: Tensor) -> Tensor:
        """Return (n, tokens, width): what the frozen lm_head reads at every token."""
        return self._norm(hidden, self.tensors["norm.weight"])

    def _attended(self, states: Tensor, layer: LayerWeights) -> Tensor:
        size, shared = int(self.config["head_width"]), int(self.config["key_value_heads"])
        heads = self.shape.heads
        parts = torch.split(linear(states, *layer.qkv), [heads * size, shared * size, shared * size], dim=2)
        query, key, value = (part.view(*part.shape[:2], -1, size).transpose(1, 2) for part in parts)
        query, key = self._placed(query), self._placed(key)
        if shared != heads:
            key, value = (part.repeat_interleave(heads // shared, dim=1) for part in (key, value))
        return scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)

    def _placed(self, states: Tensor) -> Tensor:
        """Return (n, heads, tokens, size) queries or keys turned by their places."""
        cosine, sine = (table[: states.shape[2]].to(states.device) for table in self._places)
        left, right = states.chunk(2, dim=3)
        return states * cosine + torch.cat((-right, left), dim=3) * sine

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        size = int(self.config["head_width"])
        # Kept from the first call on, which may be an answer's: what is made in inference mode can never be trained through.
        with torch.inference_mode(mode=False):
            return self._turned(size)

    def _turned(self, size: int) -> tuple[Tensor, Tensor]:
        rates = 1.0 / float(self.config["places_base"]) ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size)
        angles = torch.outer(torch.arange(self.shape.tokens).float(), rates)
        angles = torch.cat((angles, angles), dim=1)
        return angles.cos(), angles.sin()

    def _norm(self, states: Tensor, weight: Tensor) -> Tensor:
        mean_square = states.square().mean(dim=2, keepdim=True)
        return weight * (states * torch.rsqrt(mean_square + float(self.config["norm_epsilon"])))

    def _layer(self, layer: int, adapters: Adapters, scale: float) -> LayerWeights:
        adapter, weights = adapters.get(layer), {}
        for name in PROJECTIONS:
            weights[name] = folded_in(self.tensors[f"layer.{layer}.{name}.weight"], adapter, name, scale)
        biases = {name: self._bias(layer, name, weight) for name, weight in weights.items()}
        qkv, gate_up = (tuple(torch.cat([of[part] for part in parts]) for of in (weights, biases)) for parts in _FUSED)
        norms = {name: self.tensors[f"layer.{layer}.{name}.weight"] for name in ("attention_norm", "mlp_norm")}
        return LayerWeights(
            attention_norm=(norms["attention_norm"], norms["attention_norm"]),
            qkv=(qkv[0], qkv[1]),
            o=(weights["o"], biases["o"]),
            mlp_norm=(norms["mlp_norm"], norms["mlp_norm"]),
            mlp_in=(gate_up[0], gate_up[1]),
            mlp_out=(weights["down"], biases["down"]),
        )

    def _bias(self, layer: int, name: str, weight: Tensor) -> Tensor:
        found = self.tensors.get(f"layer.{layer}.{name}.bias")
        return weight.new_zeros(len(weight)) if found is None else found


_FUSED = (("q", "k", "v"), ("gate", "up"))


def read_language_model(files: Mapping[str, bytes], *, layers: int) -> NamedTensors:
    """Return the tensors of a directory's files under our names, with its tokenizer and what its config decides.

    Raises:
        Impossible: the files lack a tensor or a number, or the tokenizer cannot be read.
    """
    theirs = load(files["model.safetensors"])
    names = dict(WHOLE)
    for layer in range(layers):
        for ours, part in LAYER.items():
            names[f"layer.{layer}.{ours}.weight"] = f"model.layers.{layer}.{part}.weight"
            bias = f"model.layers.{layer}.{part}.bias"
            if bias in theirs:
                names[f"layer.{layer}.{ours}.bias"] = bias
    if "lm_head.weight" in theirs:
        names["lm_head.weight"] = "lm_head.weight"
    try:
        # Cloned: the loader's tensors are views into the file, aligned by accident, and kernels round by alignment.
        tensors = {ours: theirs[name].to(torch.float32).clone() for ours, name in names.items()}
        config = decided(json.loads(files["config.json"]))
        Tokenizer.from_str(files["tokenizer.json"].decode())
    except KeyError:
        raise Impossible("the directory's files lack a tensor or a number of a Llama model") from None
    except Exception as error:  # noqa: BLE001 - the tokenizer's own errors have no class of their own
        raise Impossible(f"the directory's tokenizer.json cannot be read ({type(error).__name__})") from None
    if config["head_width"] % 2 or len(tensors["layer.0.k.weight"]) != config["key_value_heads"] * config["head_width"]:
        raise Impossible("the directory's config.json and its tensors are not of one Llama model")
    compact = json.dumps(json.loads(files["tokenizer.json"]), ensure_ascii=False).encode()
    written = json.dumps(config, sort_keys=True).encode()
    return tensors | {
        name: torch.frombuffer(bytearray(content), dtype=torch.uint8).clone()
        for name, content in ((TOKENIZER, compact), (CONFIG, written))
    }


def decided(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a config.json decides the arithmetic, under our names."""
    heads = int(config["num_attention_heads"])
    places = config.get("rope_parameters") or {}
    return {
        "heads": heads,
        "key_value_heads": int(config.get("num_key_value_heads") or heads),
        "head_width": int(config.get("head_dim") or config["hidden_size"] // heads),
        "places_base": float(places.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        "norm_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "positions": int(config.get("max_position_embeddings", 2048)),
        "first": _one(config.get("bos_token_id")),
        "last": _one(config.get("eos_token_id")),
    }


def _one(token: Any) -> int | None:
    """Return the first of what may be a list of tokens."""
    found = token[0] if isinstance(token, list) and token else token
    return None if found is None or isinstance(found, list) else int(found)


def _config(tensors: NamedTensors) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(tensors[CONFIG].numpy()))
    return found
