"""The deletion certificate: an in-toto statement in a DSSE envelope, which keeps what is proved from what is said.

`DeletionClaim` holds the parts, `make_statement` and `read_claim` are each other's inverse, `sign_statement` and
`open_envelope` likewise. Signature: Ed25519 over DSSE's pre-authentication encoding; one signature per envelope; every
byte of the envelope is determined by what it says. Signing proves that the operator stated this, never that it is so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.audit.checkpoint import Signer, Verifier
from core.audit.encoding import decode64, encode64, read_canonical, timestamp
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.audit.sorted_tree import AbsenceProof
from core.domain.canonical import canonical
from core.domain.deletion import Result
from core.domain.manifest import Manifest
from core.domain.model import Guarantee

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://lethe.dev/attestation/model-deletion/v0.1"


class Limitation(StrEnum):
    """What a certificate does not show; a closed list of codes."""

    PLACEMENT_ASSERTED = "placement_asserted"
    SLICE_ORDER_ASSERTED = "slice_order_asserted"
    SERVING_ASSERTED = "serving_asserted"
    COPIES_REMAIN = "copies_remain"
    BACKBONE_NOT_COVERED = "backbone_not_covered"
    BACKBONE_LEARNED_NOTHING = "backbone_learned_nothing"
    BACKBONE_LEARNED_ELSEWHERE = "backbone_learned_elsewhere"
    ADAPTIVE_REQUESTS = "adaptive_requests"
    KEY_STORE_BACKUPS_EXPIRE_IN_DAYS = "key_store_backups_expire_in_days"
    SAME_ENVIRONMENT_NEEDED_FOR_REPLAY = "same_environment_needed_for_replay"
    EQUIVALENCE_DISTRIBUTIONAL = "equivalence_distributional"
    DATA_SET_COPY_RETAINED = "data_set_copy_retained"
    EXTERNAL_COPIES_NOT_COVERED = "external_copies_not_covered"
    PAST_ANSWERS_NOT_COVERED = "past_answers_not_covered"
    STATISTICAL_EVIDENCE = "statistical_evidence"
    TRAINING_ASSERTED = "training_asserted"
    RETRAIN_NOT_DEFINED = "retrain_not_defined"
    FORMER_RECORDS_UNREADABLE = "former_records_unreadable"
    FEWER_ORACLES = "fewer_oracles"
    JUDGE_NOT_QUALIFIED = "judge_not_qualified"
    BEHAVIOUR_NOT_DATA = "behaviour_not_data"


LIMITATIONS: Mapping[Limitation, str] = {
    Limitation.PLACEMENT_ASSERTED: "That the named slices were the owner's is asserted; replay with the keys checks it.",
    Limitation.SLICE_ORDER_ASSERTED: "That each committed slice is sorted and was what training read is asserted; replay checks it.",
    Limitation.SERVING_ASSERTED: "That answers come from this manifest's nodes, and no others, is asserted.",
    Limitation.COPIES_REMAIN: "Records of other owners with identical content remain.",
    Limitation.BACKBONE_NOT_COVERED: "The backbone was trained on public rows alone and is not part of the proof.",
    Limitation.BACKBONE_LEARNED_NOTHING: "The backbone was drawn by chance from a seed and learned no row; it is not part of the proof.",
    Limitation.BACKBONE_LEARNED_ELSEWHERE: "The backbone came ready from a directory; that it never learned the deleted records is asserted.",
    Limitation.ADAPTIVE_REQUESTS: "Whoever chooses deletions after seeing answers may learn from which nodes were switched off.",
    Limitation.KEY_STORE_BACKUPS_EXPIRE_IN_DAYS: "Backups of the key store keep destroyed keys until they expire, after the stated number of days.",
    Limitation.SAME_ENVIRONMENT_NEEDED_FOR_REPLAY: "Replay gives the same bits only under the same torch build, processor, instruction set and thread count.",
    Limitation.EQUIVALENCE_DISTRIBUTIONAL: "Nodes were trained on a GPU: a fresh build gives tensors of the same distribution, not the same bits.",
    Limitation.DATA_SET_COPY_RETAINED: "The data set keeps the deleted rows, because the request covered the model alone.",
    Limitation.EXTERNAL_COPIES_NOT_COVERED: "Copies that left this service before the deletion are not covered.",
    Limitation.PAST_ANSWERS_NOT_COVERED: "Answers given before the deletion cannot be recalled.",
    Limitation.STATISTICAL_EVIDENCE: "No proof ties the weights to the records: what is known is how the model answers, within the stated margins.",
    Limitation.TRAINING_ASSERTED: "How the checkpoint was trained, and on what, is what its owner said when it was registered.",
    Limitation.RETRAIN_NOT_DEFINED: "The checkpoint was trained in several stages, so what a retrained model would be is not defined.",
    Limitation.FORMER_RECORDS_UNREADABLE: "Records that were forgotten earlier are erased, so nobody could ask the new version about them again.",
    Limitation.FEWER_ORACLES: "The judge was put to the test with fewer oracles than its policy asks for, and so at a laxer level.",
    Limitation.JUDGE_NOT_QUALIFIED: "No judge was seen to be fit for this recipe and model.",
    Limitation.BEHAVIOUR_NOT_DATA: "A behaviour was suppressed; no record was deleted, and what the model learned may still be there.",
}
"""One sentence for each code."""


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """Which request a certificate answers."""

    id: str
    external_id_digest: str | None = None
    """Hex SHA-256 of the caller's own identifier for it."""
    regulation: str | None = None
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class RecordPlace:
    """A deleted record's 32-byte keyed reference and the slice the model had learned it in."""

    record: bytes
    shard: int
    slice: int


@dataclass(frozen=True, kw_only=True)
class SwitchedOff:
    """A node that had learned one of those slices and left the manifest."""

    key: str
    shard: int
    slices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Absence:
    """Proof that a record is not in a slice, for a node that has learned the slice since it was cleaned."""

    place: RecordPlace
    commitment: str
    """The node's slice root, hex."""
    proof: AbsenceProof


@dataclass(frozen=True, kw_only=True)
class DeletionClaim:
    """All that a certificate says."""

    request: RequestFacts
    model: str
    version: str | None
    """None where no version exists, which only `never_trained` can say."""
    result: Result
    guarantee: Guarantee | None
    """None for `never_trained`."""
    issued_at: datetime
    manifest: Manifest | None
    """What is served since; None for `never_trained`."""
    records: Sequence[RecordPlace] = ()
    switched_off: Sequence[SwitchedOff] = ()
    absences: Sequence[Absence] = ()
    asserted: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON that the operator vouches for: execution, environment, backup days. No identities."""
    limitations: Sequence[Limitation] = ()


def make_statement(claim: DeletionClaim) -> dict[str, Any]:
    """Return the in-toto statement; its subject is the manifest's digest (of JSON null where there is none).

    Raises:
        ValueError: a time has no zone, a reference not 32 bytes, or a limitation is not on the list.
    """
    manifest = claim.manifest.as_json() if claim.manifest else None
    name = f"{claim.model}/{claim.version}" if claim.version else claim.model
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(canonical(manifest)).hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "request": {
                "id": claim.request.id,
                "externalIdDigest": claim.request.external_id_digest,
                "regulation": claim.request.regulation,
                "receivedAt": timestamp(claim.request.received_at),
            },
            "model": claim.model,
            "result": Result(claim.result).value,
            "guarantee": Guarantee(claim.guarantee).value if claim.guarantee else None,
            "issuedAt": timestamp(claim.issued_at),
            "proved": {
                "manifest": manifest,
                "records": [_place_as_json(place) for place in claim.records],
                "switchedOff": [
                    {"key": node.key, "shard": node.shard, "slices": list(node.slices)} for node in claim.switched_off
                ],
                "absence": [
                    {**_place_as_json(each.place), "commitment": each.commitment, "proof": each.proof.as_json()}
                    for each in claim.absences
                ],
            },
            "asserted": dict(claim.asserted),
            "limitations": [Limitation(code).value for code in claim.limitations],
        },
    }


def sign_statement(signer: Signer, statement: Mapping[str, Any]) -> bytes:
    """Return the DSSE envelope as canonical JSON, without a final newline.

    Raises:
        TypeError, ValueError: the statement holds what canonical JSON cannot carry and read back.
    """
    payload = canonical(statement)
    read_canonical(payload)  # doubles beyond 2^53 are written without a point, and would be read as other numbers
    signature = signer.sign(_pre_authentication(payload))
    return canonical(
        {
            "payload": encode64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.key_id, "sig": encode64(signature)}],
        }
    )


def open_envelope(envelope: bytes, verifiers: Sequence[Verifier]) -> dict[str, Any]:
    """Return the statement inside, once a known key is seen to have signed it.

    Raises:
        EvidenceUnusable: it is empty, or not even the ruin of an envelope.
        EvidenceInvalid: it is no envelope in its one spelling, or not signed by a known key.
    """
    if not any(word in envelope for word in (b'"payload"', b'"payloadType"', b'"signatures"')):
        raise EvidenceUnusable("the certificate is no DSSE envelope")
    try:
        payload, key_id, signature = _read_envelope(read_canonical(envelope))
    except (KeyError, TypeError, ValueError):
        raise EvidenceInvalid("the certificate's envelope cannot be read") from None
    verifier = next((known for known in verifiers if known.key_id == key_id), None)
    if verifier is None:
        raise EvidenceInvalid("no known key signed the certificate")
    if not verifier.accepts(signature, _pre_authentication(payload)):
        raise EvidenceInvalid("the certificate's signature is wrong")
    return _read_statement(payload)


def _read_envelope(value: Any) -> tuple[bytes, str, bytes]:
    [signature] = value["signatures"]
    if value["payloadType"] != PAYLOAD_TYPE or len(value) != 3 or len(signature) != 2:  # noqa: PLR2004 - nothing unsigned beside
        raise ValueError("the envelope holds something else than a statement and one signature")
    return decode64(value["payload"]), signature["keyid"], decode64(signature["sig"])


def _read_statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = read_canonical(payload)
    except ValueError:
        raise EvidenceInvalid("the signed statement is no canonical JSON") from None
    if not isinstance(statement, dict):
        raise EvidenceInvalid("the signed statement is no JSON object")
    return statement


def _pre_authentication(payload: bytes) -> bytes:
    """DSSE v1: what is signed names its type and all lengths, so no other message has the same bytes."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _place_as_json(place: RecordPlace) -> dict[str, Any]:
    return {"record": place.record.hex(), "shard": place.shard, "slice": place.slice}
