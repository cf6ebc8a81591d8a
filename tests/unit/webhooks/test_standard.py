from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from core.domain.errors import BadInput, SignatureInvalid
from core.webhooks.standard import read_secret, signature, signed_headers, verify, written_secret
from tests.shared_data import shared

KEY = bytes(range(32))
NAME, BODY, NOW = "evt_1", b'{"specversion":"1.0"}', 1_795_000_000


def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared("vectors-standard-webhooks") / "vectors.json").read_text())
    return found


def test_the_published_message_gets_the_published_signature() -> None:
    told = vectors()
    case = told["sign"]
    key = read_secret(told["secret"])
    made = signature(key, name=case["msg_id"], timestamp=case["timestamp"], body=case["payload"].encode())
    assert made == case["signature"]


def test_the_published_cases_are_judged_as_published() -> None:
    told = vectors()
    assert told["tolerance_seconds"] == 300
    assert len(told["verify"]) == 12
    for case in told["verify"]:
        key = read_secret(case.get("secret", told["secret"]))
        try:
            verify(key, case["headers"], told["payload"].encode(), now=case.get("now", told["now"]))
        except SignatureInvalid:
            good = False
        else:
            good = True
        assert good is case["ok"], case["name"]


def test_the_published_empty_secrets_are_refused() -> None:
    for secret in vectors()["empty_secret"]["secrets"]:
        with pytest.raises(BadInput):
            read_secret(secret)


@given(st.binary(min_size=1, max_size=64), st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_the_reference_library_and_ours_sign_alike_and_believe_each_other(key: bytes, content: str) -> None:
    now = int(time.time())
    body = json.dumps({"content": content}).encode()
    theirs = Webhook(written_secret(key))
    when = datetime.fromtimestamp(now, UTC)
    assert theirs.sign(NAME, when, body.decode()) == signature(key, name=NAME, timestamp=now, body=body)
    headers = signed_headers([key], name=NAME, timestamp=now, body=body)
    assert theirs.verify(body, headers) == {"content": content}
    verify(key, headers, body, now=now)
    with pytest.raises(WebhookVerificationError):
        theirs.verify(body + b" ", headers)


@given(st.binary(min_size=1, max_size=64))
def test_a_written_secret_reads_back_with_and_without_its_trimmings(key: bytes) -> None:
    written = written_secret(key)
    assert written.startswith("whsec_")
    for text in (written, written.removeprefix("whsec_"), written.rstrip("="), f" {written}\n"):
        assert read_secret(text) == key


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!!!", "whsec_é", "whsec_A"])
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_secret(text)
    assert "!!!!" not in str(refused.value)


def test_while_a_secret_is_rotated_whoever_knows_either_believes() -> None:
    other = bytes(32)
    headers = signed_headers([KEY, other], name=NAME, timestamp=NOW, body=BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for key in (KEY, other):
        verify(key, headers, BODY, now=NOW)
    with pytest.raises(SignatureInvalid, match="no signature"):
        verify(b"a third", headers, BODY, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_whatever_is_signed_cannot_be_changed(name: str) -> None:
    headers = signed_headers([KEY], name=NAME, timestamp=NOW, body=BODY)
    altered = headers | {name: headers[name][:-1] + "7"}
    with pytest.raises(SignatureInvalid):
        verify(KEY, altered, BODY, now=NOW)
    with pytest.raises(SignatureInvalid):
        verify(KEY, headers, BODY.replace(b"1", b"2"), now=NOW)


@pytest.mark.parametrize("stamp", ["", "x", "-1", "1.5", "\uff11\uff17", "9" * 13, "+1795000000", " 1"])
def test_a_timestamp_is_plain_digits(stamp: str) -> None:
    headers = signed_headers([KEY], name=NAME, timestamp=NOW, body=BODY) | {"webhook-timestamp": stamp}
    with pytest.raises(SignatureInvalid):
        verify(KEY, headers, BODY, now=NOW)


def test_header_names_come_in_any_case_and_a_signature_of_another_version_is_passed_over() -> None:
    headers = signed_headers([KEY], name=NAME, timestamp=NOW, body=BODY)
    given_signature = headers["webhook-signature"]
    forged = "v1," + base64.b64encode(bytes(32)).decode()
    headers["webhook-signature"] = f"v1a,{given_signature[3:]} {forged} é {given_signature}"
    verify(KEY, {name.title(): value for name, value in headers.items()}, BODY, now=NOW)
    headers["webhook-signature"] = f"v1a,{given_signature[3:]} {forged}"
    with pytest.raises(SignatureInvalid):
        verify(KEY, headers, BODY, now=NOW)
