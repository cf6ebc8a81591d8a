"""What a version serves, written so that anyone can recompute its digest and check it against a deletion.

A manifest's *content* names every served node and its ancestors: the slices it learned, the Merkle root of the keyed
record references in each of them, and digests of what was fed and of the tensors that came out. It holds no time, no
identifier of a job and no history, so two histories that end in the same retained records end in the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.canonical import canonical

MANIFEST_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class NodeEntry:
    """One trained block as a manifest names it."""

    key: str
    """Hex digest over everything that determines the node; see `node_key`."""
    shard: int
    slices: tuple[int, ...]
    """Ascending."""
    slice_roots: tuple[str, ...]
    """Hex Merkle root of each slice's sorted (record, content) references when it was fed; same order as `slices`."""
    parent: str | None
    """Key of the node this one was trained on top of; None when it stands on the bare backbone."""
    canonical: bool
    """True when the parent is the family's and the trainer protocol the present one."""
    data_digest: str
    """Hex digest over the bytes that the loader really yielded."""
    tensor_digest: str
    """Hex digest over the node's own tensors."""

    @property
    def depth(self) -> int:
        return len(self.slices)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of a version. Empty `served` means that every shard is dead: the public head answers, degraded."""

    trainer_protocol: int
    backbone: str
    """Hex digest of the backbone's tensors."""
    recipe: str
    """Hex digest of the recipe."""
    family: str
    shards: int
    slices: int
    nodes: tuple[NodeEntry, ...]
    """Served nodes and their ancestors, each once, by key."""
    served: tuple[tuple[str, ...], ...]
    """Per shard the keys whose logits are averaged; an empty tuple is a dead shard."""

    @property
    def degraded(self) -> bool:
        return not any(self.served)

    @property
    def retrain_equivalent(self) -> bool:
        """Whether every shard is served at full depth by canonical nodes only (E2)."""
        by_key = {node.key: node for node in self.nodes}
        return all(node.canonical for node in self.nodes) and all(
            keys and all(by_key[key].depth == self.slices for key in keys) for keys in self.served
        )

    def depths(self) -> tuple[int, ...]:
        """Return the served depth of each shard; it is the weight of the shard's vote."""
        by_key = {node.key: node for node in self.nodes}
        return tuple(max((by_key[key].depth for key in keys), default=0) for keys in self.served)

    def digest(self) -> str:
        return hashlib.sha256(canonical(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "v": MANIFEST_FORMAT,
            "trainer_protocol": self.trainer_protocol,
            "backbone": self.backbone,
            "recipe": self.recipe,
            "family": self.family,
            "shards": self.shards,
            "slices": self.slices,
            "nodes": [
                {
                    "key": node.key,
                    "shard": node.shard,
                    "slices": list(node.slices),
                    "slice_roots": list(node.slice_roots),
                    "parent": node.parent,
                    "canonical": node.canonical,
                    "data_digest": node.data_digest,
                    "tensor_digest": node.tensor_digest,
                }
                for node in self.nodes
            ],
            "served": [list(keys) for keys in self.served],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Read back what `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the value is no manifest of this format.
        """
        if value["v"] != MANIFEST_FORMAT:
            raise ValueError(f"manifest format {value['v']} is not {MANIFEST_FORMAT}")
        nodes = tuple(
            NodeEntry(**{**entry, "slices": tuple(entry["slices"]), "slice_roots": tuple(entry["slice_roots"])})
            for entry in value["nodes"]
        )
        plain = {name: value[name] for name in ("trainer_protocol", "backbone", "recipe", "family", "shards", "slices")}
        return cls(**plain, nodes=nodes, served=tuple(tuple(keys) for keys in value["served"]))


def node_key(  # noqa: PLR0913 - whatever determines a node is named here
    *,
    trainer_protocol: int,
    backbone: str,
    recipe: str,
    shard: int,
    slices: Sequence[int],
    slice_roots: Sequence[str],
    parent: str | None,
) -> str:
    """Return the hex key of a node: a digest over all that determines its tensors (DESIGN §4.2).

    Args:
        trainer_protocol: number of the training arithmetic.
        backbone: hex digest of the backbone's tensors.
        recipe: hex digest of the recipe.
        shard: which shard.
        slices: ascending slice numbers; their count is the node's depth and names its layer group.
        slice_roots: hex Merkle root of each slice's sorted keyed (record, content) references.
        parent: key of the node it is trained on top of, or None on the bare backbone.
    """
    inputs = {
        "trainer_protocol": trainer_protocol,
        "backbone": backbone,
        "recipe": recipe,
        "shard": shard,
        "slices": list(slices),
        "slice_roots": list(slice_roots),
        "parent": parent,
    }
    return hashlib.sha256(b"lethe node key\x00" + canonical(inputs)).hexdigest()
