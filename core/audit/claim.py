"""Reading a signed statement back into a claim, strictly: whoever signs may still have written the wrong shapes.

`read_claim` is the inverse of `certificate.make_statement`. Every object has exactly its fields, every field its type,
and a statement that would be written differently today is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.audit.certificate import (
    Absence,
    DeletionClaim,
    Limitation,
    RecordPlace,
    RequestFacts,
    SwitchedOff,
    make_statement,
)
from core.audit.encoding import decode_hash
from core.audit.errors import EvidenceInvalid
from core.audit.sorted_tree import AbsenceProof
from core.domain.canonical import canonical
from core.domain.deletion import Result
from core.domain.manifest import Manifest, NodeEntry
from core.domain.model import Guarantee


def read_claim(statement: Mapping[str, Any]) -> DeletionClaim:
    """Return what a statement claims.

    Raises:
        EvidenceInvalid: it has other types, fields or shapes than a deletion certificate, or its subject is not the
            digest of its manifest.
    """
    try:
        claim = _claim(statement)
        rewritten = make_statement(claim)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EvidenceInvalid("the statement has not the shape of a deletion certificate") from None
    if rewritten["subject"] != statement["subject"]:
        raise EvidenceInvalid("the subject is not the digest of the manifest")
    if canonical(rewritten) != canonical(statement):
        raise EvidenceInvalid("the statement has not the fields of a deletion certificate")
    return claim


def _claim(statement: Mapping[str, Any]) -> DeletionClaim:
    [subject] = statement["subject"]
    predicate = statement["predicate"]
    proved, model = predicate["proved"], _text(predicate["model"])
    name, _, version = _text(subject["name"]).removeprefix(model).partition("/")
    if name:
        raise ValueError("the subject is a version of another model")
    return DeletionClaim(
        request=_request(predicate["request"]),
        model=model,
        version=version or None,
        result=Result(predicate["result"]),
        guarantee=None if predicate["guarantee"] is None else Guarantee(predicate["guarantee"]),
        issued_at=datetime.fromisoformat(predicate["issuedAt"]),
        manifest=None if proved["manifest"] is None else _manifest(proved["manifest"]),
        records=tuple(map(_place, proved["records"])),
        switched_off=tuple(map(_switched_off, proved["switchedOff"])),
        absences=tuple(map(_absence, proved["absence"])),
        asserted=dict(predicate["asserted"].items()),
        limitations=tuple(map(Limitation, predicate["limitations"])),
    )


def _request(value: Mapping[str, Any]) -> RequestFacts:
    digest, regulation = value["externalIdDigest"], value["regulation"]
    return RequestFacts(
        id=_text(value["id"]),
        external_id_digest=None if digest is None else _text(digest),
        regulation=None if regulation is None else _text(regulation),
        received_at=datetime.fromisoformat(value["receivedAt"]),
    )


def _place(value: Mapping[str, Any]) -> RecordPlace:
    return RecordPlace(record=decode_hash(value["record"]), shard=_whole(value["shard"]), slice=_whole(value["slice"]))


def _switched_off(value: Mapping[str, Any]) -> SwitchedOff:
    slices = tuple(map(_whole, value["slices"]))
    return SwitchedOff(key=_text(value["key"]), shard=_whole(value["shard"]), slices=slices)


def _absence(value: Mapping[str, Any]) -> Absence:
    return Absence(
        place=_place(value), commitment=_text(value["commitment"]), proof=AbsenceProof.from_json(value["proof"])
    )


def _manifest(value: Mapping[str, Any]) -> Manifest:
    manifest = Manifest.from_json(value)
    for number in (manifest.trainer_protocol, manifest.shards, manifest.slices):
        _whole(number)
    for word in (manifest.backbone, manifest.recipe, manifest.family):
        _text(word)
    for keys in manifest.served:
        _texts(keys)
    for node in manifest.nodes:
        _check_node(node)
    return manifest


def _check_node(node: NodeEntry) -> None:
    for number in (node.shard, *node.slices):
        _whole(number)
    _texts((node.key, node.data_digest, node.tensor_digest, *node.slice_roots))
    if node.parent is not None:
        _text(node.parent)
    if not isinstance(node.canonical, bool):
        raise TypeError("canonical is true or false")


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a whole number was expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text was expected")
    return value


def _texts(values: Any) -> None:
    for value in values:
        _text(value)
