"""A world small enough to build a whole shard in a second: 4 x 4 images of three classes, four slices, four layers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from core.domain.manifest import NodeEntry
from core.domain.model import BackboneRecipe, FamilyName, NodeRecipe, Recipe
from core.lattice.families import Family, SliceSet, build_family
from core.modelling.tensors import from_bytes, to_bytes
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.backbone import pretrain
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.nodes import NodeTensors
from core.unlearning.exact.repair import canonical_nodes
from core.unlearning.exact.slice_records import SliceRecords
from core.unlearning.exact.training import TrainedNode, train_node

SLICES = 4
CLASSES = 3
IMAGE_SHAPE = (1, 4, 4)
COUNTS = (5, 3, 6, 4)
"""Records per slice; a batch holds four."""


def make_recipe(*, family: FamilyName = FamilyName.CHAIN, epochs: int = 2, layers: int = 4) -> Recipe:
    # Every number is said, so that a better default elsewhere does not move the golden digest.
    backbone = BackboneRecipe(
        width=16,
        layers=layers,
        heads=2,
        patch=2,
        epochs=2,
        batch_size=16,
        learning_rate=2e-3,
        weight_decay=0.05,
        shift=1,
    )
    node = NodeRecipe(
        rank=2,
        alpha=4.0,
        epochs=epochs,
        batch_size=4,
        learning_rate=1e-2,
        head_learning_rate=1e-2,
        weight_decay=0.0,
    )
    return Recipe(shards=1, slices=SLICES, family=family, backbone=backbone, node=node)


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images whose class is the row of pixels that is bright, and their labels."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=chance)
    images = 0.5 * torch.randn((count, *IMAGE_SHAPE), generator=chance)
    images[torch.arange(count), 0, labels] += 1.0
    return images, labels


@cache
def backbone() -> VisionTransformer:
    recipe = make_recipe()
    shape = VisionTransformerShape.from_recipe(recipe.backbone, IMAGE_SHAPE, CLASSES)
    return VisionTransformer(shape, pretrain(*rows(32, seed=1), shape, recipe.backbone, seed=7))


def make_slices(counts: tuple[int, ...] = COUNTS, *, without: tuple[int, int] | None = None) -> dict[int, SliceRecords]:
    """Return a shard's slices; `without` = (slice, position) leaves one record out."""
    slices = {}
    for number, count in enumerate(counts):
        names = [f"{number}/{position}".encode() for position in range(count)]
        references = np.array([list(hashlib.sha256(name).digest()) for name in names], np.uint8).reshape(-1, 32)
        images, labels = rows(count, seed=100 + number)
        kept = np.array([(number, position) != without for position in range(count)], dtype=bool)
        slices[number] = SliceRecords.sorted_by_reference(
            number, references[kept], references[kept], inputs=images[kept], targets=labels[kept]
        )
    return slices


def make_ground(slices: Mapping[int, SliceRecords], recipe: Recipe) -> ShardGround:
    roots = [hashlib.sha256(slices[number].references.tobytes()).hexdigest() for number in range(SLICES)]
    # Not the digest of the tensors: seeds come from node keys, and another processor's last bits must not change those.
    return ShardGround(backbone=hashlib.sha256(b"tiny").hexdigest(), recipe=recipe.digest(), shard=0, slice_roots=roots)


def chain_of(nodes: Mapping[SliceSet, TrainedNode], family: Family, slices: SliceSet) -> list[NodeTensors]:
    """Return the tensors of a node's ancestors, from depth 1 down, and last its own."""
    chain: list[NodeTensors] = []
    while slices:
        chain.append(nodes[slices].tensors)
        slices = family.parents[slices]
    return chain[::-1]


def build_shard(
    slices: Mapping[int, SliceRecords], recipe: Recipe, *, backwards: bool = False, reload: bool = False
) -> dict[SliceSet, TrainedNode]:
    """Train every node of a shard, shallow ones first; `backwards` turns the order within a depth and of the slices."""
    family = build_family(recipe.family, SLICES)
    specs = canonical_nodes(family, make_ground(slices, recipe))
    if backwards:
        specs.sort(key=lambda spec: (spec.depth, [-number for number in spec.slices]))
        slices = dict(reversed(list(slices.items())))
    activations = SliceActivations(backbone(), slices)
    nodes: dict[SliceSet, TrainedNode] = {}
    for spec in specs:
        parents = chain_of(nodes, family, family.parents[spec.slices])
        parents = [from_bytes(to_bytes(parent)) for parent in parents] if reload else parents
        nodes[spec.slices] = train_node(spec, activations=activations, parents=parents, recipe=recipe)
    return nodes


def entry_of(spec: NodeSpec) -> NodeEntry:
    """Return a spec as a live node, with digests that nobody reads."""
    return NodeEntry(
        key=spec.key,
        shard=spec.shard,
        slices=spec.slices,
        slice_roots=spec.slice_roots,
        parent=spec.parent_key,
        canonical=spec.canonical,
        data_digest="",
        tensor_digest="",
    )
