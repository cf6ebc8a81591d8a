"""A model as its owner registers it: the lattice's size, the backbone and the recipe every node is trained by.

A recipe is fixed before any private row is read and never tuned on rows that may be deleted; its digest is part of
every node's key, so changing one number changes every key.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical

TRAINER_PROTOCOL = 1
"""Raise by hand whenever training arithmetic changes; a golden digest in the tests guards it."""

MINIMUM_OWNERS_PER_SLICE = 3
PLACEMENT_KEY_BYTES = 32


class FamilyName(StrEnum):
    """Which sets of slices get a node; see `core/lattice/families.py`."""

    CHAIN = "chain"
    CYCLIC = "cyclic"
    SUBSET_TRIE = "subset_trie"


class ModelState(StrEnum):
    """`registered` until the first version is live; `live` from then on; `failed` when it could never be built."""

    REGISTERED = "registered"
    LIVE = "live"
    FAILED = "failed"


class Guarantee(StrEnum):
    """What a version promises about everybody deleted before it (DESIGN §2)."""

    INFLUENCE_FREE = "influence_free"
    RETRAIN_EQUIVALENT = "retrain_equivalent"


def _refuse_unless(holds: bool, sentence: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(sentence)


@dataclass(frozen=True, kw_only=True)
class BackboneRecipe:
    """The shape of the built-in vision transformer and how it is pre-trained on the public rows."""

    width: int = 64
    """Channels of the residual stream; a multiple of `heads`."""
    layers: int = 4
    heads: int = 4
    patch: int | None = None
    """Pixels along a patch's edge; None: the smallest that divides both edges and gives at most 64 patches;
    single pixels only where nothing else fits."""
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    shift: int = 1
    """Pixels by which public images are shifted at random while pre-training."""

    def __post_init__(self) -> None:
        _refuse_unless(0 < self.heads <= 64 and self.width % self.heads == 0, "width must be a multiple of heads")
        _refuse_unless(8 <= self.width <= 4096, "width must lie in 8..4096")
        _refuse_unless(1 <= self.layers <= 64, "layers must lie in 1..64")
        _refuse_unless(self.patch is None or 1 <= self.patch <= 256, "patch must lie in 1..256")
        _refuse_unless(1 <= self.epochs <= 1000, "epochs must lie in 1..1000")
        _refuse_unless(1 <= self.batch_size <= 4096, "batch_size must lie in 1..4096")
        _refuse_unless(0 < self.learning_rate < 1, "learning_rate must lie between 0 and 1")
        _refuse_unless(0 <= self.weight_decay < 1, "weight_decay must lie in 0..1")
        _refuse_unless(0 <= self.shift <= 16, "shift must lie in 0..16")


@dataclass(frozen=True, kw_only=True)
class NodeRecipe:
    """How every node of the lattice is trained: low-rank factors on one layer group, and a head (arXiv:2406.16257)."""

    rank: int = 8
    alpha: float = 16.0
    """Low-rank updates are scaled by alpha / sqrt(rank) (rank-stabilised, arXiv:2312.03732)."""
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 4e-3
    head_learning_rate: float = 4e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.rank <= 256, "rank must lie in 1..256")
        _refuse_unless(self.alpha > 0, "alpha must be > 0")
        _refuse_unless(1 <= self.epochs <= 1000, "epochs must lie in 1..1000")
        _refuse_unless(1 <= self.batch_size <= 4096, "batch_size must lie in 1..4096")
        _refuse_unless(0 < self.learning_rate < 1, "learning_rate must lie between 0 and 1")
        _refuse_unless(0 < self.head_learning_rate < 1, "head_learning_rate must lie between 0 and 1")
        _refuse_unless(0 <= self.weight_decay < 1, "weight_decay must lie in 0..1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is fixed at registration."""

    shards: int
    slices: int
    family: FamilyName = FamilyName.SUBSET_TRIE
    family_budget: int | None = None
    """How many sequences the cyclic family keeps; None: as many as slices. Other families take none."""
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    node: NodeRecipe = field(default_factory=NodeRecipe)

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.shards <= 1024, "shards must lie in 1..1024")
        _refuse_unless(1 <= self.slices <= 64, "slices must lie in 1..64")
        _refuse_unless(
            self.family is not FamilyName.SUBSET_TRIE or self.slices <= 10,
            "a subset trie has 2^slices - 1 nodes per shard; use at most 10 slices",
        )
        _refuse_unless(
            self.family_budget is None or self.family is FamilyName.CYCLIC, "only the cyclic family takes a budget"
        )
        _refuse_unless(
            self.family_budget is None or 1 <= self.family_budget <= self.slices,
            "family_budget must lie in 1..slices",
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        return cls(
            **{
                **value,
                "family": FamilyName(value["family"]),
                "backbone": BackboneRecipe(**value["backbone"]),
                "node": NodeRecipe(**value["node"]),
            }
        )

    def digest(self) -> str:
        """Return the hex digest of what shapes a node and is not in its key otherwise.

        The number of slices is, because it divides the layers into groups; shards and family are not, because the same
        node may stand in a lattice of another size or family.
        """
        inputs = {"slices": self.slices, "node": asdict(self.node)}
        return hashlib.sha256(b"lethe recipe\x00" + canonical(inputs)).hexdigest()
