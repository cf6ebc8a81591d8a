"""A small lattice whose owner was deleted, with its certificate, log and proof: finished things to bend and to break."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from core.audit import log
from core.audit.certificate import (
    Absence,
    DeletionClaim,
    Limitation,
    RecordPlace,
    RequestFacts,
    SwitchedOff,
    make_statement,
    sign_statement,
)
from core.audit.checkpoint import Signer, sign_checkpoint
from core.audit.entry import Action, Actor, ActorKind, Entry, entry_bytes
from core.audit.proof import write_proof
from core.audit.sorted_tree import SortedTree
from core.domain.deletion import Result
from core.domain.manifest import Manifest, NodeEntry, node_key
from core.domain.model import Guarantee

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, UTC)
SIGNER = Signer("lethe.example", bytes(range(32)))
STRANGER = Signer("lethe.example", bytes(32))
ORIGIN = "lethe.example/log"
BACKBONE, RECIPE = "bb" * 32, "cc" * 32


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def make_leaves(name: str, count: int) -> list[bytes]:
    return [sha(f"{name}/record/{row}") + sha(f"{name}/content/{row}") for row in range(count)]


DELETED = RecordPlace(record=sha("the deleted record"), shard=0, slice=1)
SLICES = {(shard, number): SortedTree.of(make_leaves(f"{shard}/{number}", 5)) for shard in (0, 1) for number in (0, 1)}
CLEANED = SLICES[0, 1]


def make_node(shard: int, slices: tuple[int, ...], parent: str | None, **changed: Any) -> NodeEntry:
    roots = changed.pop("slice_roots", None) or tuple(SLICES[shard, number].commitment for number in slices)
    key = node_key(
        trainer_protocol=1,
        backbone=BACKBONE,
        recipe=RECIPE,
        shard=shard,
        slices=slices,
        slice_roots=roots,
        parent=parent,
    )
    entry = NodeEntry(
        key=key,
        shard=shard,
        slices=slices,
        slice_roots=roots,
        parent=parent,
        canonical=True,
        data_digest="dd" * 32,
        tensor_digest="ee" * 32,
    )
    return replace(entry, **changed)


def make_manifest(nodes: Sequence[NodeEntry], served: Sequence[Sequence[str]]) -> Manifest:
    return Manifest(
        trainer_protocol=1,
        backbone=BACKBONE,
        recipe=RECIPE,
        family="subset_trie",
        shards=2,
        slices=2,
        nodes=tuple(nodes),
        served=tuple(map(tuple, served)),
    )


def full_manifest() -> Manifest:
    """Both shards at full depth, shard 0 repaired: its slice 1 was cleaned and learned again."""
    below = [make_node(shard, (0,), None) for shard in (0, 1)]
    top = [make_node(shard, (0, 1), node.key) for shard, node in enumerate(below)]
    return make_manifest([*below, *top], [[top[0].key], [top[1].key]])


def shallow_manifest() -> Manifest:
    """Just after the deletion: shard 0 serves the node that never saw slice 1."""
    whole = full_manifest()
    return replace(
        whole, nodes=(whole.nodes[0], whole.nodes[1], whole.nodes[3]), served=((whole.nodes[0].key,), whole.served[1])
    )


def make_claim(**changed: Any) -> DeletionClaim:
    claim = DeletionClaim(
        request=RequestFacts(id="dr_1", received_at=NOON, regulation="gdpr", external_id_digest="ab" * 32),
        model="mdl_1",
        version="ver_2",
        result=Result.UNLEARNED,
        guarantee=Guarantee.RETRAIN_EQUIVALENT,
        issued_at=NOON,
        manifest=full_manifest(),
        records=(DELETED,),
        switched_off=(SwitchedOff(key="0f" * 32, shard=0, slices=(0, 1)),),
        absences=(Absence(place=DELETED, commitment=CLEANED.commitment, proof=CLEANED.prove_absent(DELETED.record)),),
        asserted={"keyStoreBackupDays": 30},
        limitations=(Limitation.PLACEMENT_ASSERTED, Limitation.KEY_STORE_BACKUPS_EXPIRE_IN_DAYS),
    )
    return replace(claim, **changed)


def make_entry(**changed: Any) -> Entry:
    entry = Entry(
        id="aud_1",
        at=NOON,
        tenant="ten_1",
        actor=Actor(ActorKind.WORKER, "wrk_1"),
        action=Action.CERTIFICATE_ISSUED,
        object="crt_1",
        refs={"request": "dr_1"},
    )
    return replace(entry, **changed)


def reader_of(hashes: Sequence[bytes]) -> log.NodeReader:
    """Keep a tree the way storage does, by what each new leaf completes, and hand out its reader."""
    kept: dict[tuple[int, int], bytes] = {}
    read: Callable[[int, int], bytes] = lambda level, index: kept[level, index]  # noqa: E731 - a closure over `kept`
    for index, leaf in enumerate(hashes):
        for level, place, value in log.nodes_completed_by(index, leaf, read):
            assert (level, place) not in kept
            kept[level, place] = value
    return read


@dataclass(frozen=True)
class Evidence:
    envelope: bytes
    proof: str
    entries: list[bytes]
    vkeys: list[str]
    checkpoint: str


def make_evidence(
    statement: dict[str, Any] | None = None, *, signer: Signer = SIGNER, log_signer: Signer = SIGNER, **entry: Any
) -> Evidence:
    """Return a signed statement that stands third in a log of five."""
    envelope = sign_statement(signer, statement or make_statement(make_claim()))
    refs = {"request": "dr_1", "certificate_sha256": hashlib.sha256(envelope).hexdigest()}
    issued = entry_bytes(make_entry(**{"refs": refs, **entry}))
    others = [entry_bytes(make_entry(id=f"aud_0{number}", action=Action.JOB_DONE)) for number in range(4)]
    entries = [*others[:2], issued, *others[2:]]
    read = reader_of([log.leaf_hash(each) for each in entries])
    checkpoint = sign_checkpoint(log_signer, ORIGIN, 5, log.root(5, read))
    proof = write_proof(issued, 2, log.inclusion_proof(2, 5, read), checkpoint)
    return Evidence(envelope, proof, entries, [SIGNER.vkey], checkpoint)
