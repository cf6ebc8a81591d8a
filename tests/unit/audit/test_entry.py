from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from core.audit.entry import UNTIMED, Action, Actor, ActorKind, Ref, entry_bytes, read_entry, untimed_bytes
from core.audit.errors import EvidenceInvalid
from core.domain.canonical import canonical
from tests.unit.audit.evidence import NOON, make_entry


def test_an_entry_is_canonical_json_with_microseconds() -> None:
    entry = make_entry(moved_from="running", moved_to="verifying", refs={"fence": 4, "request": "dr_1"})
    assert entry_bytes(entry) == (
        b'{"action":"certificate.issued","actor":{"id":"wrk_1","kind":"worker"},"at":"2026-11-20T12:00:00.123456Z",'
        b'"from":"running","id":"aud_1","object":"crt_1","refs":{"fence":4,"request":"dr_1"},"tenant":"ten_1",'
        b'"to":"verifying","v":1}'
    )


def test_a_time_elsewhere_is_written_in_utc_and_always_with_microseconds() -> None:
    early = NOON.replace(microsecond=0).astimezone(timezone(timedelta(hours=2)))
    assert b'"at":"2026-11-20T12:00:00.000000Z"' in entry_bytes(make_entry(at=early))


def test_an_entry_reads_back() -> None:
    value = read_entry(entry_bytes(make_entry(tenant=None, refs={"records": ["r1", "r2"]})))
    assert value["action"] == Action.CERTIFICATE_ISSUED
    assert value["tenant"] is None
    assert value["refs"] == {"records": ["r1", "r2"]}


@pytest.mark.parametrize(
    "change",
    [
        {"object": "ada@example.com"},
        {"object": "Ada Lovelace"},
        {"object": "line\n"},
        {"object": "x" * 201},
        {"object": "Zoë"},
        {"id": "a b"},
        {"tenant": "a,b"},
        {"moved_from": "a b"},
        {"moved_to": "?"},
        {"actor": Actor(ActorKind.USER, "ada@example.com")},
        {"refs": {"digest": "a b"}},
        {"refs": {"records": ["fine", "not fine"]}},
        {"refs": {"records": [["nested"]]}},
        {"refs": {"digest": {"request": "nested"}}},
        {"refs": {"digest": 0.5}},
        {"refs": {"digest": True}},
        {"at": datetime(2026, 11, 20, 12)},  # noqa: DTZ001 - the point of the test
    ],
)
def test_free_text_never_enters_the_log(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"log entry|zone"):
        entry_bytes(make_entry(**change))


@pytest.mark.parametrize(
    "change",
    [{"action": "made.up"}, {"actor": Actor("ghost", "x")}, {"refs": {"comment": "x"}}],  # type: ignore[arg-type]
)
def test_words_outside_the_closed_lists_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        entry_bytes(make_entry(**change))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v": 1'),
        (b'"v":1', b'"v":1,"w":1'),
        (b',"v":1', b""),
        (b'"refs":{"request":"dr_1"}', b'"refs":[]'),
        (b"{", b"["),
    ],
)
def test_bytes_that_are_no_entry_cannot_be_read(old: bytes, new: bytes) -> None:
    content = entry_bytes(make_entry())
    assert old in content
    with pytest.raises(EvidenceInvalid):
        read_entry(content.replace(old, new))
    with pytest.raises(EvidenceInvalid):
        read_entry(b"[" * 100_000)


def test_the_halves_around_an_unknown_time_are_those_of_the_whole_entry() -> None:
    refs = {"request": "dr_1", "origin": "1970-01-01T00:00:00.000000Z"}
    before, behind = untimed_bytes(make_entry(at=UNTIMED, refs=refs))
    assert before + b"2026-11-20T12:00:00.123456Z" + behind == entry_bytes(make_entry(at=NOON, refs=refs))


def test_an_entry_is_written_as_canonical_json_writes_it() -> None:
    every_ref = {ref.value: number if number % 3 else ["a:b", 7, None] for number, ref in enumerate(Ref)}
    for refs in ({}, {"types": [], "fence": 2**53}, every_ref):
        content = entry_bytes(make_entry(tenant=None, moved_to="x", refs=refs))
        assert canonical(json.loads(content)) == content
        assert read_entry(content)["refs"] == refs
