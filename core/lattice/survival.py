"""Survival: which nodes a deletion switches off, and which of the rest are served. Nothing here trains.

    nodes ──switched_off(hits)──▶ dead          a node that learned a hit slice, wholly or not, is dead
      └────▶ live ──served_nodes──▶ per shard the deepest  ──with_ancestors──▶ the nodes of the next manifest

A child contains its parent's slices, so a live node never stands on a dead one; `with_ancestors` still checks that
every ancestor is there, as a manifest without one could not be served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, TypeVar

from core.lattice.placement import Place


class LearnedNode(Protocol):
    """What survival needs to know of a node; `core.domain.manifest.NodeEntry` is one."""

    @property
    def key(self) -> str: ...
    @property
    def shard(self) -> int: ...
    @property
    def slices(self) -> tuple[int, ...]: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def canonical(self) -> bool: ...


Node = TypeVar("Node", bound=LearnedNode)


def switched_off(nodes: Iterable[Node], hits: Collection[Place]) -> list[Node]:
    """Return the nodes that learned any of the hit slices, in the order given."""
    hit_slices: dict[int, set[int]] = {}
    for hit in hits:
        hit_slices.setdefault(hit.shard, set()).add(hit.slice)
    return [node for node in nodes if not hit_slices.get(node.shard, set()).isdisjoint(node.slices)]


def served_nodes(nodes: Iterable[LearnedNode], shards: int) -> tuple[tuple[str, ...], ...]:
    """Return per shard the keys of the nodes that answer for it: the deepest, and among them canonical ones first.

    Ties are all kept, as their logits are averaged, and ordered by slices, then key. A shard without nodes is dead:
    its tuple is empty. A provisional node is served only while no canonical one is as deep.

    Args:
        nodes: live nodes, in any order.
        shards: how many shards the lattice has.

    Raises:
        ValueError: a node lies in a shard that the lattice does not have.
    """
    by_shard: list[list[LearnedNode]] = [[] for _ in range(shards)]
    for node in nodes:
        if not 0 <= node.shard < shards:
            raise ValueError(f"a node lies in shard {node.shard}, and the lattice has {shards}")
        by_shard[node.shard].append(node)
    return tuple(_deepest(in_shard) for in_shard in by_shard)


def with_ancestors(nodes: Iterable[Node], served: Sequence[Collection[str]]) -> tuple[Node, ...]:
    """Return the served nodes and all that they stand on, each once, by shard, depth, slices and key.

    Raises:
        ValueError: a served node or one of its ancestors is not among `nodes`.
    """
    by_key = {node.key: node for node in nodes}
    wanted: dict[str, Node] = {}
    for served_key in (key for keys in served for key in keys):
        key: str | None = served_key
        while key is not None and key not in wanted:
            if key not in by_key:
                raise ValueError("a served node or one of its ancestors is missing")
            wanted[key] = by_key[key]
            key = wanted[key].parent
    return tuple(sorted(wanted.values(), key=lambda node: (node.shard, len(node.slices), node.slices, node.key)))


def _deepest(nodes: Sequence[LearnedNode]) -> tuple[str, ...]:
    depth = max((len(node.slices) for node in nodes), default=0)
    deepest = [node for node in nodes if len(node.slices) == depth]
    chosen = [node for node in deepest if node.canonical] or deepest
    return tuple(node.key for node in sorted(chosen, key=lambda node: (node.slices, node.key)))
