"""Prove a version by replay: train its nodes again from the retained rows, and compare the tensors. Loads torch.

    manifest ─▶ its backbone, from the public rows that are here now (`replay_backbone.py`) ─▶ a sample of its nodes ─▶
    each with all its ancestors, from the bare backbone down, from rows that are here now ─▶ key, fed data and tensors
    against what the manifest names, and against what lies in the store

No stored node is built upon: a parent that was tampered with would vouch for its children. In the environment in which
a node was trained its tensors must be equal bit for bit. In another one they are compared within a tolerance, and the
answer says so; keys and the digests of what was fed must be equal everywhere. What a deletion has switched off since
cannot be replayed, as its rows are gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row

from core.domain.checkpoint import is_checkpoint_manifest
from core.domain.errors import Impossible, KeyDestroyed, ModelNotFound, OvertakenByDeletion, VersionNotFound, WrongMode
from core.domain.manifest import Manifest, NodeEntry
from core.domain.model import TRAINER_PROTOCOL
from core.persistence import models, nodes, versions
from core.persistence.nodes import NodeState
from core.unlearning.exact.node_spec import NodeSpec
from core.use_cases.doors import Doors
from core.use_cases.replay_backbone import (
    TOLERANCE,
    ReplayedBackbone,
    differing,
    distance_between,
    opened,
    replay_backbone,
)
from core.use_cases.shard_plan import ShardPlan, read_plan

if TYPE_CHECKING:
    from core.modelling.tensors import NamedTensors
    from core.unlearning.exact.activations import SliceActivations
    from core.unlearning.exact.training import TrainedNode

Progress = Callable[[float, str], None]


class Flaw(StrEnum):
    """What a replay found different, one word each."""

    SLICES = "slices"
    """The node learned slices that hold other records than are retained now."""
    KEY = "key"
    """The node's key is not that of its inputs."""
    DATA = "data"
    """What the loader yields now is not what the manifest says was fed."""
    TENSORS = "tensors"
    """Training again gives other tensors than the manifest names."""
    STORE = "store"
    """The stored tensors are not those that the manifest names, or do not open."""
    BACKBONE = "backbone"
    """The stored backbone is not the one that the manifest names, or training it again gives another one."""


@dataclass(frozen=True)
class ReplayedNode:
    """One node, trained again."""

    key: str
    shard: int
    slices: tuple[int, ...]
    bit_for_bit: bool
    """Whether it was compared so; otherwise within the tolerance."""
    differs: tuple[str, ...]
    """Which parts of the environment are not those it was trained in; `unrecorded` when nobody wrote them down."""
    largest_difference: float | None
    """Of any tensor from the stored one, relative to its norm; None where the stored one does not open."""
    flaws: tuple[Flaw, ...]


@dataclass
class Replay:
    """What became of a replay."""

    model: str
    version: str
    number: int
    manifest_digest: str
    nodes: int
    """In the manifest."""
    environment: dict[str, Any]
    """The one in which it was replayed."""
    replayed: list[ReplayedNode] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Nodes of the sample that a deletion switched off since."""
    backbone: ReplayedBackbone | None = None
    """What all nodes stand on; None until it was looked at."""
    flaws: list[Flaw] = field(default_factory=list)
    """Of the backbone."""

    @property
    def holds(self) -> bool:
        return not self.flaws and not any(one.flaws for one in self.replayed)

    @property
    def bit_for_bit(self) -> bool:
        """Whether every comparison was bit for bit."""
        return bool(self.replayed) and all(one.bit_for_bit for one in self.replayed)

    def as_json(self) -> dict[str, Any]:
        return {
            "object": "replay",
            "holds": self.holds,
            "comparison": "bit_for_bit" if self.bit_for_bit else "tolerance",
            "tolerance": None if self.bit_for_bit else TOLERANCE,
            **asdict(self),
        }


def replay_version(
    doors: Doors, version: str, *, sample: int | None = None, progress: Progress = lambda *_: None
) -> Replay:
    """Train nodes of a version again and say whether they are what the manifest names.

    Args:
        doors: the outside.
        version: its id; or a model's id or name for what it serves; or both a model and a number, as in `digits/3`.
        sample: how many nodes of the manifest, chosen at random; None: all.
        progress: called with the share that is done and what happens now.

    Raises:
        ModelNotFound, VersionNotFound: there is none such.
        Impossible: the version was trained by another protocol, or nothing of it can be replayed any more.
        OvertakenByDeletion: a deletion struck the model meanwhile; replay what it serves now.
    """
    with doors.database.transaction() as session:
        model, row = _find(session, version)
        if is_checkpoint_manifest(row.manifest):
            raise WrongMode("a checkpoint's version names no nodes that could be trained again")
        known = nodes.nodes_by_key(session, model.id, [one["key"] for one in row.manifest["nodes"]])
        backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
    manifest = Manifest.from_json(row.manifest)
    if manifest.trainer_protocol != TRAINER_PROTOCOL:
        raise Impossible(f"the version was trained by protocol {manifest.trainer_protocol}, this is {TRAINER_PROTOCOL}")
    chosen = _sample(manifest.nodes, sample)
    gone = [one for one in chosen if one.key not in known or known[one.key].state != NodeState.LIVE]
    here = [one for one in chosen if one not in gone]
    if chosen and not here:
        raise Impossible("every node was switched off by deletions since, and what they learned from is gone")
    from core.modelling.determinism import environment, pinned
    from core.modelling.tensors import tensor_digest

    recorded = {
        key: node.environment or (backbone.training["environment"] if backbone else None) for key, node in known.items()
    }
    threads = next((place["threads"] for place in recorded.values() if place), doors.settings.trainer_threads)
    pinned(threads)
    replay = Replay(
        model.id, row.id, row.number, row.manifest_digest, nodes=len(manifest.nodes), environment=environment()
    )
    replay.gone = [one.key for one in gone]
    stored = opened(doors, backbone) if backbone is not None else None
    if backbone is None or stored is None or tensor_digest(stored) != manifest.backbone:
        replay.flaws.append(Flaw.BACKBONE)
        return replay
    progress(0.0, "backbone")
    replay.backbone = replay_backbone(doors, model, backbone, stored)
    if replay.backbone.flawed:
        replay.flaws.append(Flaw.BACKBONE)
    machine = _Machine(doors, model.id, manifest, known, recorded)
    try:
        for node in machine.in_order(here, progress):
            replay.replayed.append(node)
    except KeyDestroyed:
        raise OvertakenByDeletion from None
    return replay


class _Machine:
    """Trains chains again, shard by shard, each node once."""

    def __init__(
        self,
        doors: Doors,
        model_id: str,
        manifest: Manifest,
        known: Mapping[str, Row[Any]],
        recorded: Mapping[str, dict[str, Any] | None],
    ) -> None:
        self.doors, self.model_id, self.known, self.recorded = doors, model_id, known, recorded
        self.entries = {one.key: one for one in manifest.nodes}
        self._plan: ShardPlan | None = None
        self._ground: tuple[int, int] | None = None
        self._activations: SliceActivations | None = None
        self._trained: dict[str, tuple[NodeSpec, TrainedNode]] = {}
        self._done, self._work = 0, 1

    def in_order(self, wanted: Iterable[NodeEntry], progress: Progress) -> Iterable[ReplayedNode]:
        # Shallow ones first within a shard: each boundary's activations are computed once.
        chosen = sorted(wanted, key=lambda one: (*self._ground_of(one), one.depth, one.slices, one.key))
        needed = {link.key for one in chosen for link in self._chain(one)}
        self._work = max(len(needed), 1)
        for one in chosen:
            yield self._judged(one, progress)

    def _judged(self, entry: NodeEntry, progress: Progress) -> ReplayedNode:
        if self._ground != self._ground_of(entry):
            self._open(*self._ground_of(entry))
        assert self._plan is not None  # noqa: S101 - opened just now
        stored = self._stored(entry)
        differs = self._differing(entry)

        def judged(distance: float | None, *flaws: Flaw) -> ReplayedNode:
            return ReplayedNode(
                key=entry.key,
                shard=entry.shard,
                slices=entry.slices,
                bit_for_bit=not differs,
                differs=differs,
                largest_difference=distance,
                flaws=flaws,
            )

        if any(link.slice_roots != self._plan.ground.roots_of(link.slices) for link in self._chain(entry)):
            return judged(None, Flaw.SLICES)
        from core.modelling.tensors import tensor_digest

        spec, again = self._train(entry, progress)
        distance = distance_between(stored, again.tensors) if stored is not None else None
        flaws = []
        if spec.key != entry.key:
            flaws.append(Flaw.KEY)
        if again.data_digest != entry.data_digest:
            flaws.append(Flaw.DATA)
        if stored is None or tensor_digest(stored) != entry.tensor_digest:
            flaws.append(Flaw.STORE)
        # In another environment the stored tensors stand for the digest that they were just found to have.
        same = distance is not None and distance <= TOLERANCE if differs else again.tensor_digest == entry.tensor_digest
        if not same:
            flaws.append(Flaw.TENSORS)
        return judged(distance, *flaws)

    def _chain(self, entry: NodeEntry) -> list[NodeEntry]:
        line = [entry]
        while line[-1].parent is not None:
            line.append(self.entries[line[-1].parent])
        return line[::-1]

    def _ground_of(self, entry: NodeEntry) -> tuple[int, int]:
        """Return a node's shard, and the version of the data set that it learned from."""
        return entry.shard, self.known[entry.key].dataset_version

    def _open(self, shard: int, version: int) -> None:
        from core.use_cases.open_shard import open_activations

        with self.doors.database.transaction() as session:
            self._plan = read_plan(session, self.doors, self.model_id, shard, version=version)
        self._ground = shard, version
        self._activations = open_activations(self.doors, self._plan)
        self._trained = {}

    def _train(self, entry: NodeEntry, progress: Progress) -> tuple[NodeSpec, TrainedNode]:
        from core.unlearning.exact.training import train_node

        assert self._plan is not None  # noqa: S101 - opened by whoever asks
        assert self._activations is not None  # noqa: S101
        parents: list[NamedTensors] = []
        above: str | None = None
        for link in self._chain(entry):
            if link.key not in self._trained:
                spec = self._plan.ground.spec(link.slices, above, canonical=link.canonical)
                progress(self._done / self._work, f"shard {link.shard}, slices {', '.join(map(str, link.slices))}")
                trained = train_node(spec, activations=self._activations, parents=parents, recipe=self._plan.recipe)
                self._trained[link.key] = spec, trained
                self._done += 1
            spec, trained = self._trained[link.key]
            parents = [*parents, trained.tensors]
            above = spec.key
        return self._trained[entry.key]

    def _stored(self, entry: NodeEntry) -> NamedTensors | None:
        row = self.known[entry.key]
        return opened(self.doors, row)

    def _differing(self, entry: NodeEntry) -> tuple[str, ...]:
        """Return which parts of the environment differ for the node or any of its ancestors."""
        places = (self.recorded.get(link.key) for link in self._chain(entry))
        return differing(places, self.doors.settings.trainer_device)


def _find(session: Connection, version: str) -> tuple[Row[Any], Row[Any]]:
    if version.startswith("ver_"):
        row = versions.version_by_id(session, version)
        if row is None:
            raise VersionNotFound
        return models.get_model(session, row.model_id), row
    name, _, number = version.partition("/")
    model = models.find_anywhere(session, name)
    if model is None:
        raise ModelNotFound
    row = versions.find_version(session, model.id, number or versions.SERVING)
    if row is None:
        raise VersionNotFound
    return model, row


def _sample(entries: Iterable[NodeEntry], sample: int | None) -> list[NodeEntry]:
    listed = list(entries)
    if sample is None or sample >= len(listed):
        return listed
    # Nobody can know beforehand which nodes will be looked at.
    return secrets.SystemRandom().sample(listed, sample)
