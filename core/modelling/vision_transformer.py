"""A small pre-norm vision transformer, as functions over frozen tensors (arXiv:2010.11929).

    images ──embed──▶ hidden at boundary 0 ──layer 0──▶ 1 ──…──▶ boundary `layers` ──features──▶ final norm of the class token

A *boundary* i is the input of layer i. Arithmetic is that of Hugging Face's ViT (exact GELU, norms with epsilon 1e-12,
learned positions), so its weights load by renaming. Low-rank factors are passed in and never written into the tensors.
Query, key and value of a layer are one matrix product: factors are folded into a copy of the weights first, which at
these widths is cheaper than following them. In the last layer only the class token asks, because only it is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.adapters import Adapter, Adapters
from core.modelling.tensors import NamedTensors

MLP_RATIO = 2
NORM_EPSILON = 1e-12
MOST_PATCHES = 64


def fitting_patch(height: int, width: int, wanted: int | None) -> int:
    """Return the edge of a patch in pixels; None asks for the smallest that gives at most 64 patches.

    Single pixels are the last resort: they cost four times as much as patches of two, and say no more.

    Raises:
        Impossible: no patch divides both edges into few enough patches.
    """
    common = math.gcd(height, width)
    fitting = [edge for edge in range(1, common + 1) if common % edge == 0]
    if wanted is not None:
        if wanted not in fitting:
            raise Impossible(f"patches of {wanted} pixels do not tile images of {height} x {width}")
        return wanted
    few = [edge for edge in fitting if height * width // edge**2 <= MOST_PATCHES]
    if not few:
        raise Impossible(f"no square patch tiles images of {height} x {width} with at most {MOST_PATCHES} patches")
    return min(few, key=lambda edge: (edge == 1, edge))


@dataclass(frozen=True, kw_only=True)
class VisionTransformerShape:
    """All sizes of a backbone."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    patch: int
    width: int
    layers: int
    heads: int
    classes: int

    @classmethod
    def from_recipe(
        cls, recipe: BackboneRecipe, image_shape: tuple[int, int, int], classes: int
    ) -> VisionTransformerShape:
        """Return the shape that a recipe means for these images.

        Raises:
            Impossible: the images cannot be cut into patches.
        """
        patch = fitting_patch(image_shape[1], image_shape[2], recipe.patch)
        return cls(
            image_shape=image_shape,
            patch=patch,
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            classes=classes,
        )

    @property
    def tokens(self) -> int:
        """The class token and one per patch."""
        return 1 + self.image_shape[1] * self.image_shape[2] // self.patch**2

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of the backbone and its public head, by name."""
        width, inner = self.width, MLP_RATIO * self.width
        shapes: dict[str, tuple[int, ...]] = {
            "patch.weight": (width, self.image_shape[0], self.patch, self.patch),
            "patch.bias": (width,),
            "class_token": (1, 1, width),
            "positions": (1, self.tokens, width),
            "norm.weight": (width,),
            "norm.bias": (width,),
            "head.weight": (self.classes, width),
            "head.bias": (self.classes,),
        }
        sizes = {"q": (width, width), "k": (width, width), "v": (width, width), "o": (width, width)}
        sizes |= {"mlp_in": (inner, width), "mlp_out": (width, inner)}
        for layer in range(self.layers):
            for name, (rows, columns) in sizes.items():
                shapes[f"layer.{layer}.{name}.weight"] = (rows, columns)
                shapes[f"layer.{layer}.{name}.bias"] = (rows,)
            for name in ("attention_norm", "mlp_norm"):
                shapes[f"layer.{layer}.{name}.weight"] = (width,)
                shapes[f"layer.{layer}.{name}.bias"] = (width,)
        return shapes


class LayerWeights(NamedTuple):
    """What one layer multiplies by, factors folded in; qkv is (3 * width, width)."""

    attention_norm: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    o: tuple[Tensor, Tensor]
    mlp_norm: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    mlp_out: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class VisionTransformer:
    """A backbone: its shape and its tensors, named as `VisionTransformerShape.tensor_shapes` says."""

    shape: VisionTransformerShape
    tensors: NamedTensors

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        if shapes != self.shape.tensor_shapes():
            raise ValueError("the tensors are not those of this backbone's shape")

    def embed(self, images: Tensor) -> Tensor:
        """Return (n, tokens, width) hidden states at boundary 0 for (n, channels, height, width) images."""
        pair = self._pair("patch")
        patches = conv2d(images, *pair, stride=self.shape.patch).flatten(2).transpose(1, 2)
        class_token = self.tensors["class_token"].expand(len(images), -1, -1)
        return torch.cat((class_token, patches), dim=1) + self.tensors["positions"]

    def layer_weights(self, layer: int, adapter: Adapter | None = None, scale: float = 0.0) -> LayerWeights:
        """Return what a layer multiplies by, with `scale * b @ a` added to query and value."""
        (q, q_bias), (k, k_bias), (v, v_bias) = (self._pair(f"layer.{layer}.{name}") for name in "qkv")
        if adapter is not None:
            q = torch.addmm(q, adapter.q_b, adapter.q_a, alpha=scale)
            v = torch.addmm(v, adapter.v_b, adapter.v_a, alpha=scale)
        pairs = {
            name: self._pair(f"layer.{layer}.{name}")
            for name in ("attention_norm", "o", "mlp_norm", "mlp_in", "mlp_out")
        }
        return LayerWeights(qkv=(torch.cat((q, k, v)), torch.cat((q_bias, k_bias, v_bias))), **pairs)

    def run(self, hidden: Tensor, weights: Iterable[LayerWeights]) -> Tensor:
        """Return (n, tokens, width) hidden states after these layers; for the topmost use `class_state` instead."""
        for layer in weights:
            hidden = run_layer(hidden, layer, self.shape.heads)
        return hidden

    def folded(self, layers: range, adapters: Adapters, scale: float) -> tuple[LayerWeights, ...]:
        """Return what each of these layers multiplies by, factors folded in where there are any."""
        return tuple(self.layer_weights(layer, adapters.get(layer), scale) for layer in layers)

    def top_features(self, hidden: Tensor, weights: Sequence[LayerWeights]) -> Tensor:
        """Return (n, width) features from hidden states below the topmost layers, whose weights are given."""
        below = self.run(hidden, weights[:-1])
        return self.features(run_layer(below, weights[-1], self.shape.heads, only_class_token=True))

    def features(self, hidden: Tensor) -> Tensor:
        """Return (n, width): the final norm of the class token of (n, tokens or 1, width) hidden states."""
        return _norm(hidden[:, 0], self._pair("norm"))

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def run_layer(hidden: Tensor, weights: LayerWeights, heads: int, *, only_class_token: bool = False) -> Tensor:
    """Return one layer's output for (n, tokens, width); (n, 1, width) when only the class token is wanted."""
    width = hidden.shape[2]
    normed = _norm(hidden, weights.attention_norm)
    if only_class_token:
        query = linear(normed[:, :1], weights.qkv[0][:width], weights.qkv[1][:width])
        key, value = linear(normed, weights.qkv[0][width:], weights.qkv[1][width:]).chunk(2, dim=2)
        hidden = hidden[:, :1]
    else:
        query, key, value = linear(normed, *weights.qkv).chunk(3, dim=2)
    query, key, value = (_split_heads(part, heads) for part in (query, key, value))
    attended = scaled_dot_product_attention(query, key, value)
    hidden = hidden + linear(attended.transpose(1, 2).flatten(2), *weights.o)
    inner = gelu(linear(_norm(hidden, weights.mlp_norm), *weights.mlp_in))
    return hidden + linear(inner, *weights.mlp_out)


def _split_heads(states: Tensor, heads: int) -> Tensor:
    count, tokens, width = states.shape
    return states.view(count, tokens, heads, width // heads).transpose(1, 2)  # (n, heads, tokens, width / heads)


def _norm(states: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    return layer_norm(states, states.shape[-1:], *pair, eps=NORM_EPSILON)
