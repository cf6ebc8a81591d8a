"""What everything above a backbone may ask of it, whatever its inputs are: nodes, activations and ensembles know no more.

    inputs ──embed──▶ state at boundary 0 ──layer 0──▶ 1 ──…──▶ boundary `layers` ──features──▶ what a head reads

A *boundary* i is the input of layer i. A new kind of input is one file with a shape and a backbone that keep these two
promises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.adapters import Adapters
from core.modelling.layers import LayerWeights
from core.modelling.tensors import NamedTensors


class BackboneShape(Protocol):
    """All sizes of a backbone, before it has tensors."""

    @property
    def layers(self) -> int: ...

    @property
    def tokens(self) -> int:
        """How many states a row has at every boundary."""

    @property
    def width(self) -> int:
        """How many features a head reads."""

    @property
    def state_width(self) -> int:
        """How many numbers are kept of a state between layers: its width, and what else must travel with it."""

    @property
    def outputs(self) -> int:
        """How many numbers a head answers with."""

    @property
    def task(self) -> TaskName: ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row's input."""

    @property
    def tables(self) -> Collection[str]:
        """Names of the tensors that tell places or words apart; they start large."""

    @property
    def adapted(self) -> Mapping[str, tuple[int, int]]:
        """The projections of a layer that nodes put factors on, and the shape of each one's weight."""

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, the public head's included, by name, in the order in which chance fills them."""

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:
        """Return public inputs as pre-training varies them."""

    def backbone(self, tensors: NamedTensors) -> Backbone:
        """Return the backbone of this shape with these tensors.

        Raises:
            ValueError: the tensors are those of another shape.
        """


class Backbone(Protocol):
    """Frozen tensors and how they are run. Low-rank factors are passed in and never written into the tensors."""

    @property
    def shape(self) -> BackboneShape: ...

    @property
    def tensors(self) -> NamedTensors:
        """By name; `head.weight` and `head.bias` are the public head, where there is one."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, state_width) states at boundary 0 for (n, *input_shape) inputs."""

    def folded(self, layers: range, adapters: Adapters, scale: float) -> tuple[LayerWeights, ...]:
        """Return what each of these layers multiplies by, factors folded in where there are any."""

    def run(self, hidden: Tensor, weights: Iterable[LayerWeights]) -> Tensor:
        """Return (n, tokens, state_width) states after these layers."""

    def top_features(self, hidden: Tensor, weights: Sequence[LayerWeights]) -> Tensor:
        """Return (n, width) features from states below the topmost layers, whose weights are given."""

    def features(self, hidden: Tensor) -> Tensor:
        """Return (n, width) features of the states above the last layer."""


def head_of(backbone: Backbone, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of what reads the features: a node's own head, or a language model's, which is frozen."""
    if "head.weight" in tensors:
        return tensors["head.weight"], tensors["head.bias"]
    return backbone.tensors.get("lm_head.weight", backbone.tensors["words"]), None
