"""Slices as deletions leave them, and nodes that are trained when somebody is first asked for their answers.

    owner ──placement──▶ shard, slice ──rows that are left──▶ root ──▶ node keys ──train_node──▶ tensors ──▶ answers

Placement, roots, keys, chains and training are the product's own. A node is a function of its key and of the rows behind
its roots, so it may be trained late, or once for several rivals, and comes out the same to the bit; what a rival is *charged*
for is counted where it decides, not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from benchmarks.exact.data import Problem
from core.audit.sorted_tree import commit
from core.domain.model import NodeRecipe, Recipe
from core.domain.references import content_reference, owner_reference, record_reference
from core.lattice.placement import Place, place
from core.modelling.ensemble import Ensemble
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.nodes import NodeTensors
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.training import train_node

TENANT_KEY = bytes([7]) * 32
PLACEMENT_KEY = bytes(range(32))


@dataclass
class World:
    """One problem, divided into shards and slices; `forget` takes an owner's rows out of theirs."""

    problem: Problem
    recipe: Recipe
    seconds: float = 0.0
    """Spent on training so far."""
    trained: int = 0
    _rows: dict[Place, list[int]] = field(default_factory=dict)
    _places: dict[str, Place] = field(default_factory=dict)
    _roots: dict[str, SliceRecords] = field(default_factory=dict)
    _specs: dict[str, NodeSpec] = field(default_factory=dict)
    _tensors: dict[str, NodeTensors] = field(default_factory=dict)
    _answers: dict[str, Tensor] = field(default_factory=dict)
    _grounds: dict[int, ShardGround] = field(default_factory=dict)
    _activations: dict[int, tuple[tuple[str, ...], SliceActivations]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shards, slices = self.recipe.shards, self.recipe.slices
        self._rows = {Place(shard, number): [] for shard in range(shards) for number in range(slices)}
        for row, owner in enumerate(self.problem.owners):
            if owner not in self._places:
                reference = owner_reference(TENANT_KEY, "customer_id", owner)
                self._places[owner] = place(PLACEMENT_KEY, reference, shards=shards, slices=slices)
            self._rows[self._places[owner]].append(row)
        for shard in range(shards):
            self._look(shard)

    @property
    def owners(self) -> list[str]:
        """Everybody who has rows, in order."""
        return list(self._places)

    @property
    def records(self) -> int:
        """Private rows that are left."""
        return sum(map(len, self._rows.values()))

    def ground(self, shard: int) -> ShardGround:
        """Return what the shard's keys have in common, as it is now."""
        return self._grounds[shard]

    def forget(self, owner: str) -> Place:
        """Take an owner's rows away and return where they were."""
        where = self._places.pop(owner)
        self._rows[where] = [row for row in self._rows[where] if self.problem.owners[row] != owner]
        self._look(where.shard)
        return where

    def know(self, specs: Collection[NodeSpec]) -> None:
        """Note nodes, so that they can be trained when they are asked for."""
        self._specs |= {spec.key: spec for spec in specs}

    def answers(self, key: str) -> Tensor:
        """Return (n, outputs) logits of one node, on its chain, for the held-out rows."""
        if key not in self._answers:
            chain = self.chain(key)
            alone = Ensemble.build(self.problem.backbone, [[chain]], self.recipe.node)
            self._answers[key] = asked(alone, self.problem.held_out.inputs)
        return self._answers[key]

    def chain(self, key: str) -> list[NodeTensors]:
        """Return the tensors of a node's ancestors and its own, trained now where they are not there yet."""
        keys: list[str] = []
        at: str | None = key
        while at is not None:
            keys.insert(0, at)
            at = self._specs[at].parent_key
        chain: list[NodeTensors] = []
        for one in keys:
            if one not in self._tensors:
                self._tensors[one] = self._train(self._specs[one], chain)
            chain.append(self._tensors[one])
        return chain

    def _train(self, spec: NodeSpec, parents: Sequence[NodeTensors]) -> NodeTensors:
        done = train_node(spec, activations=self._seen(spec), parents=parents, recipe=self.recipe)
        self.seconds += done.seconds
        self.trained += 1
        return done.tensors

    def _seen(self, spec: NodeSpec) -> SliceActivations:
        """Return the rows of a node as they were when its key was made; those of the shard's last node are kept."""
        roots, seen = self._activations.get(spec.shard, ((), None))
        wanted = tuple(zip(spec.slices, spec.slice_roots, strict=True))
        if seen is None or not {f"{number}:{root}" for number, root in wanted} <= set(roots):
            seen = SliceActivations(self.problem.backbone, {number: self._roots[root] for number, root in wanted})
            self._activations[spec.shard] = (tuple(f"{number}:{root}" for number, root in wanted), seen)
        return seen

    def _look(self, shard: int) -> None:
        roots = []
        for number in range(self.recipe.slices):
            records = self._records(Place(shard, number))
            pairs = zip(records.references, records.content_references, strict=True)
            root = commit([one.tobytes() + other.tobytes() for one, other in pairs])
            # Two empty slices have one root, and nothing in them to mistake.
            self._roots.setdefault(root, records)
            roots.append(root)
        self._grounds[shard] = ShardGround(
            backbone=self.problem.backbone_digest, recipe=self.recipe.digest(), shard=shard, slice_roots=roots
        )

    def _records(self, where: Place) -> SliceRecords:
        rows = self._rows[where]
        private = self.problem.private
        references = [record_reference(TENANT_KEY, f"row-{row}") for row in rows]
        contents = [content_reference(TENANT_KEY, private.inputs[row].numpy().tobytes()) for row in rows]
        return SliceRecords.sorted_by_reference(
            where.slice,
            np.frombuffer(b"".join(references), np.uint8).reshape(-1, 32),
            np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 32),
            inputs=private.inputs[rows],
            targets=private.targets[rows],
        )


def asked(ensemble: Ensemble, inputs: Tensor, rows: int = 256) -> Tensor:
    """Return (n, outputs) logits, asked for in batches."""
    return torch.cat([ensemble.logits(part) for part in torch.split(inputs, rows)])


def public_accuracy(problem: Problem, recipe: NodeRecipe) -> float:
    """Return the accuracy of the backbone's public head, which never saw a private row."""
    return accuracy(asked(Ensemble.build(problem.backbone, [[]], recipe), problem.held_out.inputs), problem)


def accuracy(logits: Tensor, problem: Problem) -> float:
    """Return the share of held-out rows that (n, outputs) logits get right."""
    return float((logits.argmax(dim=1) == problem.held_out.targets).double().mean())


def draw_owners(world: World, count: int, seed: int) -> list[str]:
    """Return so many different owners in the order in which they leave, by a fixed draw."""
    order = sorted(world.owners, key=lambda owner: hashlib.sha256(f"{seed} {owner}".encode()).digest())
    return order[:count]
