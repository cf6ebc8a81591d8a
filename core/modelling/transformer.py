"""A pre-norm transformer with a class token, as functions over frozen tensors: all but how inputs become tokens.

In the last layer only the class token asks, because only it is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.adapters import Adapter, Adapters, query_and_value
from core.modelling.layers import LayerWeights, norm, run_layer
from core.modelling.tensors import NamedTensors

MLP_RATIO = 2


@dataclass(frozen=True, kw_only=True)
class TransformerShape(ABC):
    """All sizes of a backbone; a subclass adds those of its inputs."""

    width: int
    layers: int
    heads: int
    outputs: int
    """How many labels there are; 1 for a regression."""
    task: TaskName = TaskName.CLASSIFICATION

    @property
    def state_width(self) -> int:
        return self.width

    @property
    def adapted(self) -> Mapping[str, tuple[int, int]]:
        return query_and_value(self.width)

    @property
    @abstractmethod
    def tokens(self) -> int:
        """The class token and one for every part of an input."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row's input."""

    @property
    @abstractmethod
    def tables(self) -> Collection[str]:
        """Names of the tensors that tell places or words apart; they start large."""

    @abstractmethod
    def embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what turns inputs into tokens, by name."""

    @abstractmethod
    def backbone(self, tensors: NamedTensors) -> Transformer:
        """Return the backbone of this shape with these tensors."""

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return public inputs as pre-training varies them: not at all, unless a subclass knows how."""
        return inputs

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of the backbone and its public head, by name."""
        width, inner = self.width, MLP_RATIO * self.width
        shapes = self.embedding_shapes() | {
            "norm.weight": (width,),
            "norm.bias": (width,),
            "head.weight": (self.outputs, width),
            "head.bias": (self.outputs,),
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


@dataclass(frozen=True)
class Transformer(ABC):
    """A backbone: its shape and its tensors, named as the shape's `tensor_shapes` says."""

    shape: TransformerShape
    tensors: NamedTensors

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        if shapes != self.shape.tensor_shapes():
            raise ValueError("the tensors are not those of this backbone's shape")

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width) hidden states at boundary 0 for (n, *input_shape) inputs."""

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
        """Return (n, tokens, width) hidden states after these layers."""
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
        return norm(hidden[:, 0], self._pair("norm"))

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
