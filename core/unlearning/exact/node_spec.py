"""A node that could be trained: all that its key is made of. Pure, so that planning needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.manifest import node_key
from core.domain.model import TRAINER_PROTOCOL
from core.lattice.families import SliceSet


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """What to train. Its key names it before it exists."""

    key: str
    shard: int
    slices: SliceSet
    """Ascending."""
    slice_roots: tuple[str, ...]
    """Hex Merkle root of each of these slices, in the same order."""
    parent_key: str | None
    """None: it stands on the bare backbone."""
    canonical: bool

    @property
    def depth(self) -> int:
        return len(self.slices)


@dataclass(frozen=True, kw_only=True)
class ShardGround:
    """What every key of one shard has in common, and the present roots of its slices."""

    backbone: str
    """Hex digest of the backbone's tensors."""
    recipe: str
    """Hex digest of the recipe."""
    shard: int
    slice_roots: Sequence[str]
    """Hex Merkle root of every slice 0..L-1 as it is now, after all deletions."""

    def roots_of(self, slices: SliceSet) -> tuple[str, ...]:
        return tuple(self.slice_roots[number] for number in slices)

    def spec(self, slices: SliceSet, parent_key: str | None, *, canonical: bool) -> NodeSpec:
        """Return the node for a set of slices on top of a parent, keyed by the present trainer protocol."""
        roots = self.roots_of(slices)
        key = node_key(
            trainer_protocol=TRAINER_PROTOCOL,
            backbone=self.backbone,
            recipe=self.recipe,
            shard=self.shard,
            slices=slices,
            slice_roots=roots,
            parent=parent_key,
        )
        return NodeSpec(
            key=key,
            shard=self.shard,
            slices=slices,
            slice_roots=roots,
            parent_key=parent_key,
            canonical=canonical,
        )
