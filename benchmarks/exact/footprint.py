"""Bytes on disk and in memory: of a node, of a lattice of 5 shards of 4 slices, and of what serves it.

Sizes do not depend on what was learned, so nodes are first weights. A node's file is what the store is given, before sealing.
The rival keeps what SISA keeps (arXiv:1912.03817): a copy of the whole model per stage of every shard's chain. S3T's figure is its
own: one block with its head for each stage of each of its rotations. What serving takes is counted over the tensors that an ensemble
at full depth really holds, each once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from benchmarks.exact.data import minilm
from benchmarks.service.report import arguments, finish, table
from core.domain.model import BackboneRecipe, FamilyName, NodeRecipe
from core.lattice.families import build_family
from core.modelling.backbone import Backbone, BackboneShape
from core.modelling.ensemble import Ensemble
from core.modelling.tensors import to_bytes
from core.modelling.vision_transformer import VisionTransformerShape
from core.unlearning.exact.backbone import drawn
from core.unlearning.exact.layer_groups import layer_group
from core.unlearning.exact.nodes import initial_node

SHARDS, SLICES = 5, 4
MEBI = 2**20


@dataclass(frozen=True)
class Size:
    """One backbone and the factors that its nodes have."""

    name: str
    backbone: Backbone
    node: NodeRecipe


def main() -> None:
    """Count and print."""
    run = arguments("footprint", "bytes of nodes and lattices", room="exact")
    nodes = SHARDS * len(build_family(FamilyName.SUBSET_TRIE, SLICES).parents)
    rows = [_row(size, nodes) for size in _sizes(quick=run.quick)]
    table(rows)
    print(
        f"MiB; trie: all {nodes} nodes of {SHARDS} shards of {SLICES}; SISA: a copy of the model per stage, {SHARDS * SLICES}\n"
    )
    finish(run, {"shards": SHARDS, "slices": SLICES, "nodes": nodes, "rows": rows})


def _sizes(*, quick: bool) -> Iterable[Size]:
    small = VisionTransformerShape.from_recipe(BackboneRecipe(patch=7), (1, 28, 28), 10)
    yield Size("ViT, width 64, 4 layers", _bare(small), NodeRecipe())
    encoder = minilm(tokens=32, outputs=20)
    if encoder is not None:
        yield Size("MiniLM, 6 layers", encoder, NodeRecipe())
    if not quick:
        recipe = BackboneRecipe(width=768, layers=12, heads=12, patch=None)
        shape = replace(
            VisionTransformerShape.from_recipe(recipe, (3, 64, 64), 100), image_shape=(3, 224, 224), patch=16
        )
        yield Size("ViT, width 768, 12 layers", _bare(shape), NodeRecipe(rank=16))


def _bare(shape: BackboneShape) -> Backbone:
    return shape.backbone(drawn(shape, seed=1))


def _row(size: Size, nodes: int) -> dict[str, Any]:
    backbone, layers = size.backbone, size.backbone.shape.layers
    groups = [layer_group(layers, SLICES, stage + 1) for stage in range(SLICES)]
    key = "1" * 64
    chain = [initial_node(group, backbone.tensors, size.node, key) for group in groups]
    node, whole = len(to_bytes(chain[-1])) / MEBI, _bytes(backbone.tensors.values()) / MEBI
    ensemble = Ensemble.build(backbone, [[chain]] * SHARDS, size.node)
    own = {id(tensor) for tensor in backbone.tensors.values()}
    held = _bytes(tensor for tensor in _tensors(ensemble) if id(tensor) not in own) / MEBI
    return {
        "backbone": size.name,
        "model": round(whole, 2),
        "parameters of a node": sum(tensor.numel() for tensor in chain[-1].values()),
        "node": round(node, 3),
        "trie": round(nodes * node, 2),
        "S3T, 4 rotations": round(SHARDS * SLICES * SLICES * node, 2),
        "SISA": round(SHARDS * SLICES * whole, 1),
        "SISA / trie": round(SHARDS * SLICES * whole / (nodes * node), 1),
        "serving, beside the model": round(held, 1),
    }


def _tensors(ensemble: Ensemble) -> Iterable[Tensor]:
    for layer in ensemble.bare:
        yield from _flat(layer)
    for members in ensemble.shards:
        for member in members:
            yield from _flat((member.weights, member.head))


def _flat(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _flat(one)


def _bytes(tensors: Iterable[Tensor]) -> int:
    seen: dict[int, int] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


if __name__ == "__main__":
    main()
