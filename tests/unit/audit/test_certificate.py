from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from core.audit.certificate import LIMITATIONS, Limitation, make_statement, open_envelope, sign_statement
from core.audit.claim import read_claim
from core.audit.errors import EvidenceInvalid, EvidenceUnusable
from core.domain.canonical import canonical
from core.domain.deletion import Result
from tests.unit.audit.evidence import NOON, SIGNER, STRANGER, full_manifest, make_claim, shallow_manifest

KNOWN = [SIGNER.verifier]
STATEMENT = make_statement(make_claim())
ENVELOPE = sign_statement(SIGNER, STATEMENT)


def test_the_signature_covers_the_pre_authentication_encoding() -> None:
    envelope = json.loads(ENVELOPE)
    payload = base64.b64decode(envelope["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    [signature] = envelope["signatures"]
    assert signature["keyid"] == SIGNER.key_id
    assert SIGNER.verifier.accepts(base64.b64decode(signature["sig"]), message)


def test_an_envelope_opens_to_its_statement() -> None:
    assert open_envelope(ENVELOPE, [STRANGER.verifier, *KNOWN]) == STATEMENT


def test_the_subject_is_the_manifests_digest() -> None:
    digest = full_manifest().digest()
    assert STATEMENT["subject"] == [{"name": "mdl_1/ver_2", "digest": {"sha256": digest}}]
    nothing = make_statement(make_claim(manifest=None, version=None))
    assert nothing["subject"] == [{"name": "mdl_1", "digest": {"sha256": hashlib.sha256(b"null").hexdigest()}}]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"manifest": shallow_manifest()},
        {"request": replace(make_claim().request, regulation=None, external_id_digest=None)},
        {"result": Result.NEVER_TRAINED, "guarantee": None, "manifest": None, "version": None, "records": ()},
        {"asserted": {"free": [1, {"any": None}]}},
    ],
)
def test_a_claim_reads_back_from_its_statement(change: dict[str, Any]) -> None:
    claim = make_claim(**change)
    assert read_claim(json.loads(canonical(make_statement(claim)))) == claim


def test_every_limitation_has_its_sentence() -> None:
    assert set(LIMITATIONS) == set(Limitation)
    assert all(sentence.endswith(".") for sentence in LIMITATIONS.values())


def test_what_would_not_read_back_is_not_signed() -> None:
    with pytest.raises(ValueError, match="2\\^53"):
        sign_statement(SIGNER, {**STATEMENT, "large": 1e17})
    with pytest.raises(ValueError, match="zone"):
        make_statement(make_claim(issued_at=NOON.replace(tzinfo=None)))


def test_a_stranger_is_refused() -> None:
    with pytest.raises(EvidenceInvalid, match="no known key"):
        open_envelope(sign_statement(STRANGER, STATEMENT), KNOWN)


def test_no_byte_of_an_envelope_can_be_altered() -> None:
    for place in range(len(ENVELOPE)):
        flipped = bytearray(ENVELOPE)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(EvidenceInvalid):
            open_envelope(bytes(flipped), KNOWN)


@pytest.mark.parametrize("content", [b"", b" \n", b"\x89PNG\r\n", b'{"hello":"world"}'])
def test_what_is_no_envelope_at_all_is_unusable(content: bytes) -> None:
    with pytest.raises(EvidenceUnusable):
        open_envelope(content, KNOWN)


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"signatures": json.loads(ENVELOPE)["signatures"] * 2},
        {"signatures": [{"keyid": SIGNER.key_id, "sig": ""}]},
        {"signatures": [{"keyid": SIGNER.key_id}]},
        {"signatures": [{**json.loads(ENVELOPE)["signatures"][0], "cert": ""}]},
        {"signatures": {}},
        {"signatures": ["ab"]},
        {"payload": 1},
        {"payload": "ü"},
        {"payloadType": "text/plain"},
        {"unsigned": "beside"},
    ],
)
def test_an_envelope_of_another_shape_is_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(EvidenceInvalid):
        open_envelope(canonical({**json.loads(ENVELOPE), **change}), KNOWN)


def test_an_envelope_in_another_spelling_is_invalid() -> None:
    for content in (ENVELOPE + b"\n", json.dumps(json.loads(ENVELOPE)).encode(), b'{"payload":' + b"[" * 100_000):
        with pytest.raises(EvidenceInvalid):
            open_envelope(content, KNOWN)


@pytest.mark.parametrize("payload", [b"[]", b"not json", b'{"a": 1}', b'{"a":NaN}'])
def test_a_signed_payload_that_is_no_statement_is_invalid(payload: bytes) -> None:
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": SIGNER.key_id, "sig": base64.b64encode(SIGNER.sign(message)).decode()}],
    }
    with pytest.raises(EvidenceInvalid, match="signed statement"):
        open_envelope(canonical(envelope), KNOWN)


def _paths(value: Any) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [(), *((key, *path) for key, child in inner for path in _paths(child))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed


@pytest.mark.parametrize("wrong", [None, True, 1, -1, 0.5, "word", [], {}, [[]], [{}], {"v": 1}])
def test_a_wrong_shape_anywhere_is_invalid_and_never_a_crash(wrong: Any) -> None:
    """Put something else in every place of a statement: it is refused, or it is a legal claim that says the same."""
    statement = json.loads(canonical(STATEMENT))
    for path in _paths(statement):
        if path[:2] == ("predicate", "asserted") and len(path) > 2:
            continue
        changed = _with(statement, path, wrong)
        if changed == statement and canonical(changed) == canonical(statement):
            continue
        try:
            claim = read_claim(changed)
        except EvidenceInvalid:
            continue
        assert canonical(make_statement(claim)) == canonical(changed)


def test_a_field_more_or_less_is_invalid() -> None:
    statement = json.loads(canonical(STATEMENT))
    places = [path for path in _paths(statement) if path[:2] != ("predicate", "asserted")]
    for path in places:
        holder = statement
        for key in path:
            holder = holder[key]
        if isinstance(holder, dict):
            fewer = [{key: holder[key] for key in holder if key != gone} for gone in holder]
            for changed in [{**holder, "more": 1}, *fewer]:
                with pytest.raises(EvidenceInvalid):
                    read_claim(_with(statement, path, changed))


def test_the_subject_must_be_a_version_of_the_model() -> None:
    statement = json.loads(canonical(STATEMENT))
    for name in ("mdl_2/ver_2", "/ver_2", "mdl_1/", "mdl_1x/ver_2"):
        with pytest.raises(EvidenceInvalid):
            read_claim(_with(statement, ("subject", 0, "name"), name))
    with pytest.raises(EvidenceInvalid, match="digest of the manifest"):
        read_claim(_with(statement, ("subject", 0, "digest", "sha256"), "00" * 32))
