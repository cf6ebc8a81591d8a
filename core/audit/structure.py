"""The structural proof (DESIGN §4): what a manifest must look like so that no deleted record shaped what it names.

A node names its slices, what each held, and its parent; its key binds them all. So the served nodes and their ancestors
are everything that answers depend on. A node of a deleted record's shard either has not learned the record's slice, or
learned it without the record, which its own slice root and two adjacent leaves show.

Each function returns sentences about what is wrong, none when all holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from core.audit.certificate import DeletionClaim, RecordPlace
from core.audit.sorted_tree import verify_absent
from core.domain.deletion import Result
from core.domain.manifest import Manifest, NodeEntry, node_key
from core.domain.model import Guarantee


def claim_flaws(claim: DeletionClaim) -> list[str]:
    """Return what keeps the claim from being proved by what it carries."""
    if claim.result is Result.NEVER_TRAINED:
        return list(_never_trained_flaws(claim))
    if claim.manifest is None:
        return ["the certificate says unlearned and carries no manifest"]
    flaws = manifest_flaws(claim.manifest)
    if flaws:
        return flaws  # the rest would be judged on a structure that does not hold
    return [*_record_flaws(claim, claim.manifest), *_absence_flaws(claim), *_promise_flaws(claim, claim.manifest)]


def manifest_flaws(manifest: Manifest) -> list[str]:
    """Return what is wrong with a manifest by itself: nodes, keys, parents and who is served."""
    by_key = {node.key: node for node in manifest.nodes}
    flaws = [] if len(by_key) == len(manifest.nodes) else ["the manifest names a node twice"]
    for node in manifest.nodes:
        flaws += _node_flaws(node, manifest) or _parent_flaws(node, by_key)
    return flaws + list(_served_flaws(manifest, by_key))


def _node_flaws(node: NodeEntry, manifest: Manifest) -> list[str]:
    ascending = all(left < right for left, right in pairwise(node.slices))
    in_range = 0 <= node.shard < manifest.shards and all(0 <= number < manifest.slices for number in node.slices)
    if not node.slices or not ascending or not in_range or len(node.slice_roots) != len(node.slices):
        return [f"node {node.key} has impossible slices"]
    key = node_key(
        trainer_protocol=manifest.trainer_protocol,
        backbone=manifest.backbone,
        recipe=manifest.recipe,
        shard=node.shard,
        slices=node.slices,
        slice_roots=node.slice_roots,
        parent=node.parent,
    )
    return [] if key == node.key else [f"node {node.key} is not the digest of what it was trained on"]


def _parent_flaws(node: NodeEntry, by_key: Mapping[str, NodeEntry]) -> list[str]:
    if node.parent is None:
        return [] if node.depth == 1 else [f"node {node.key} hides the nodes below it"]
    parent = by_key.get(node.parent)
    if parent is None:
        return [f"the parent of node {node.key} is missing"]
    if parent.shard != node.shard or parent.depth != node.depth - 1 or not set(parent.slices) < set(node.slices):
        return [f"node {node.key} does not extend its parent by one slice"]
    return []


def _served_flaws(manifest: Manifest, by_key: Mapping[str, NodeEntry]) -> Iterator[str]:
    if len(manifest.served) != manifest.shards:
        yield "the manifest does not say what each shard serves"
    for shard, keys in enumerate(manifest.served):
        nodes = [by_key.get(key) for key in keys]
        if any(node is None or node.shard != shard for node in nodes) or len(set(keys)) != len(keys):
            yield f"shard {shard} serves a node that is not its own"
        elif len({node.depth for node in nodes if node}) > 1:
            yield f"shard {shard} serves nodes of different depths"


def _record_flaws(claim: DeletionClaim, manifest: Manifest) -> Iterator[str]:
    shown = {(absence.place, absence.commitment) for absence in claim.absences}
    nodes_by_place: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for node in manifest.nodes:
        for number, commitment in zip(node.slices, node.slice_roots, strict=True):
            nodes_by_place.setdefault((node.shard, number), []).append((node.key, commitment))
    if not claim.records:
        yield "the certificate says unlearned and names no record"
    for row, place in enumerate(claim.records):
        if not (0 <= place.shard < manifest.shards and 0 <= place.slice < manifest.slices):
            yield f"record {row} is placed outside the lattice"
        for key, commitment in nodes_by_place.get((place.shard, place.slice), []):
            if (place, commitment) not in shown:
                yield f"node {key} has learned the slice of record {row}, and nothing shows the record absent from it"


def _absence_flaws(claim: DeletionClaim) -> Iterator[str]:
    places: set[RecordPlace] = set(claim.records)
    for row, absence in enumerate(claim.absences):
        if absence.place not in places:
            yield f"absence {row} is about no deleted record"
        if not verify_absent(absence.proof, absence.commitment, absence.place.record):
            yield f"absence {row} does not hold"


def _promise_flaws(claim: DeletionClaim, manifest: Manifest) -> Iterator[str]:
    present = {node.key for node in manifest.nodes}
    for node in claim.switched_off:
        if node.key in present:
            yield f"node {node.key} is said to be switched off and is in the manifest"
    if any(count > 1 for count in Counter(node.key for node in claim.switched_off).values()):
        yield "a node is switched off twice"
    if claim.version is None:
        yield "the certificate says unlearned and names no version"
    if claim.guarantee is None:
        yield "the certificate says unlearned and guarantees nothing"
    if claim.guarantee is Guarantee.RETRAIN_EQUIVALENT and not manifest.retrain_equivalent:
        yield "the certificate says retrain_equivalent, and its manifest does not"


def _never_trained_flaws(claim: DeletionClaim) -> Iterator[str]:
    if claim.manifest or claim.records or claim.switched_off or claim.absences:
        yield "the certificate says never_trained and names what was unlearned"
    if claim.guarantee is not None:
        yield "the certificate says never_trained and guarantees what was unlearned"
