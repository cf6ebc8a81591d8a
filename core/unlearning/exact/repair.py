"""Which nodes to train next: first back to full depth, then back to what a fresh build has (DESIGN §4.7). Pure.

Costs are in slices fed times layer groups run, since a node of depth k feeds k slices through k groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.domain.manifest import NodeEntry
from core.lattice.families import Family, SliceSet
from core.unlearning.exact.node_spec import NodeSpec, ShardGround


def canonical_nodes(family: Family, ground: ShardGround) -> list[NodeSpec]:
    """Return every node that a fresh build of the shard has, parents before children."""
    specs: dict[SliceSet, NodeSpec] = {}
    for slices in family.by_depth():
        parent = family.parents[slices]
        specs[slices] = ground.spec(slices, specs[parent].key if parent else None, canonical=True)
    return list(specs.values())


def missing_nodes(family: Family, ground: ShardGround, live: Iterable[NodeEntry]) -> list[NodeSpec]:
    """Return the canonical nodes that a fresh build has and that are not live, parents before children."""
    keys = {node.key for node in live}
    return [spec for spec in canonical_nodes(family, ground) if spec.key not in keys]


def provisional_extension(family: Family, ground: ShardGround, live: Sequence[NodeEntry]) -> list[NodeSpec]:
    """Return the cheapest nodes, one on top of the other, that bring the shard back to full depth.

    The deepest clean node is extended by the cleaned slices it lacks, one at a time, those that the registered prior calls
    unlikely to be hit first. Where the family's own way to the
    full set costs no more, that way is returned instead: its nodes are canonical and will be served for good. Nodes
    that happen to be canonical are marked so either way. Empty when a node of full depth is live, be it one that learned a
    slice before the slice grew: it answers until the canonical one is there, but nothing is built upon it.
    """
    mine = [node for node in live if node.shard == ground.shard]
    if any(node.depth == family.slices for node in mine):
        return []
    clean = [node for node in mine if _is_clean(node, ground)]
    canonical_way = _canonical_way(family, ground, clean)
    if not clean:
        return canonical_way
    extension = _extension(family, ground, min(clean, key=_deepest_first))
    return extension if training_cost(extension) < training_cost(canonical_way) else canonical_way


def training_cost(specs: Iterable[NodeSpec]) -> int:
    """Return slices fed times layer groups run, summed over the nodes."""
    return sum(spec.depth**2 for spec in specs)


def _is_clean(node: NodeEntry, ground: ShardGround) -> bool:
    return node.slice_roots == ground.roots_of(node.slices)


def _deepest_first(node: NodeEntry) -> tuple[int, bool, SliceSet, str]:
    return (-node.depth, not node.canonical, node.slices, node.key)


def _canonical_way(family: Family, ground: ShardGround, clean: Sequence[NodeEntry]) -> list[NodeSpec]:
    slices, way = tuple(range(family.slices)), []
    missing = {spec.slices: spec for spec in missing_nodes(family, ground, clean)}
    while slices in missing:
        way.append(missing[slices])
        slices = family.parents[slices]
    return way[::-1]


def _extension(family: Family, ground: ShardGround, node: NodeEntry) -> list[NodeSpec]:
    extension: list[NodeSpec] = []
    slices, key, canonical = node.slices, node.key, node.canonical
    for number in family.cold_first:
        if number in node.slices:
            continue
        extended = tuple(sorted((*slices, number)))
        canonical = canonical and family.parents.get(extended) == slices
        extension.append(ground.spec(extended, key, canonical=canonical))
        slices, key = extended, extension[-1].key
    return extension
