"""What a predictor serves: per shard the deepest clean chains of nodes, voting by depth (DESIGN §4.6).

A chain is a node below its ancestors: their low-rank factors on the groups above, and the node's own head. Factors are
folded into the weights once, when the ensemble is built. What lies below every chain's factors is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from core.domain.model import NodeRecipe
from core.modelling.adapters import adapters_from, scaling
from core.modelling.backbone import Backbone, head_of
from core.modelling.layers import LayerWeights
from core.modelling.tensors import NamedTensors

NodeChain = Sequence[NamedTensors]
"""The tensors of a node's ancestors from depth 1 downwards, and last the node's own."""


@dataclass(frozen=True)
class Member:
    """One chain, ready to answer."""

    boundary: int
    """The lowest layer that carries its factors; everything below is the bare backbone."""
    weights: tuple[LayerWeights, ...]
    head: tuple[Tensor, Tensor | None]
    depth: int


@dataclass(frozen=True)
class Ensemble:
    """An immutable set of voters; a new manifest is a new ensemble."""

    backbone: Backbone
    bare: tuple[LayerWeights, ...]
    """The backbone's own layers, without factors."""
    shards: tuple[tuple[Member, ...], ...]

    @classmethod
    def build(cls, backbone: Backbone, shards: Sequence[Sequence[NodeChain]], recipe: NodeRecipe) -> Ensemble:
        """Fold every chain's factors into weights of its own.

        Args:
            backbone: with the public head.
            shards: per shard the chains to average, all of one depth; none for a dead shard.
            recipe: gives the scale of the factors.

        Raises:
            ValueError: a chain is empty, or chains of one shard differ in depth.
        """
        if any(len({len(chain) for chain in chains}) > 1 for chains in shards):
            raise ValueError("the chains of one shard must have one depth")
        scale = scaling(recipe.alpha, recipe.rank)
        bare = backbone.folded(range(backbone.shape.layers), {}, 0.0)
        members = tuple(tuple(_member(backbone, chain, scale) for chain in chains) for chains in shards)
        return cls(backbone, bare, members)

    @property
    def depths(self) -> tuple[int, ...]:
        """The depth of each shard, which is the weight of its vote; 0 when it is dead."""
        return tuple(max((member.depth for member in members), default=0) for members in self.shards)

    @property
    def degraded(self) -> bool:
        """Whether no shard is alive, so that the public head answers alone."""
        return not any(self.depths)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Return (n, outputs) logits of (n, *input_shape) inputs; for a regression (n, 1) numbers in [-1, 1].

        Of a language model (n, tokens, vocabulary) logits of the token after each: shards vote at every token.
        """
        states = self._shared_states(inputs)
        if self.degraded:
            head = head_of(self.backbone, self.backbone.tensors)
            return linear(self.backbone.features(states[len(self.bare)]), *head)
        votes = [
            depth * torch.stack([self._answer(member, states) for member in members]).mean(dim=0)
            for depth, members in zip(self.depths, self.shards, strict=True)
            if members
        ]
        return torch.stack(votes).sum(dim=0) / sum(self.depths)

    def _answer(self, member: Member, states: dict[int, Tensor]) -> Tensor:
        features = self.backbone.top_features(states[member.boundary], member.weights)
        return linear(features, *member.head)

    def _shared_states(self, inputs: Tensor) -> dict[int, Tensor]:
        """Return the bare backbone's hidden states at each boundary where some member takes over."""
        boundaries = sorted({member.boundary for members in self.shards for member in members} or {len(self.bare)})
        hidden, reached, states = self.backbone.embed(inputs), 0, {}
        for boundary in boundaries:
            hidden = self.backbone.run(hidden, self.bare[reached:boundary])
            reached, states[boundary] = boundary, hidden
        return states


def _member(backbone: Backbone, chain: NodeChain, scale: float) -> Member:
    if not chain:
        raise ValueError("a chain has at least one node")
    adapters = {layer: adapter for node in chain for layer, adapter in adapters_from(node).items()}
    boundary = min(adapters)
    weights = backbone.folded(range(boundary, backbone.shape.layers), adapters, scale)
    return Member(boundary, weights, head_of(backbone, chain[-1]), len(chain))
