"""A store that fails, stalls, damages, forgets and lies: each is survived when it passes, and noticed when it stays.

A proxy between Lethe and the real store does the harm. Where a guard notices it, the same harm is done once more with
the guard taken out, to show that nothing else would have noticed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from core.domain.errors import ObjectNotDeleted, SealBroken, StoreUnavailable
from core.object_store.s3 import S3ObjectStore
from tests.integration.buckets import OwnBucket, own_bucket
from tests.servers import Ceph, ceph
from tests.servers.faulty_http import (
    Fault,
    FaultyHTTP,
    alter,
    answer,
    cut,
    drip,
    late,
    lose_answer,
    reset,
    shorten,
    spoil,
    swallow,
)

CONTENT = bytes(range(256)) * 300
SHORT = 0.5
"""Seconds of patience with harm that stays; harm that passes is met with the usual patience."""


@pytest.fixture
def bucket(gateway: Ceph) -> OwnBucket:
    bucket = own_bucket(gateway)
    bucket.prepared()
    return bucket


@pytest.fixture
def proxy(bucket: OwnBucket) -> Iterator[FaultyHTTP]:
    with FaultyHTTP(bucket.gateway.port) as proxy:
        yield proxy


@pytest.fixture
def store(bucket: OwnBucket, proxy: FaultyHTTP) -> S3ObjectStore:
    return bucket.open(endpoint=proxy.url)


@pytest.fixture
def hasty(bucket: OwnBucket, proxy: FaultyHTTP) -> S3ObjectStore:
    return bucket.open(endpoint=proxy.url, retry_seconds=SHORT)


PASSING = {
    "500": answer(500),
    "502 of a proxy": answer(502, code="Bad Gateway"),
    "503": answer(503, code="SlowDown"),
    "429": answer(429, code="TooManyRequests"),
    "reset": reset,
    "lost answer": lose_answer,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_fails_in_passing_succeeds(
    store: S3ObjectStore, proxy: FaultyHTTP, bucket: OwnBucket, fault: Fault
) -> None:
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        proxy.inject(fault, method=method, times=2)
    digest = store.put(CONTENT)
    assert store.get(digest) == CONTENT
    assert store.get_range(digest, 100, 1000) == CONTENT[100:1100]
    assert list(store.list_digests()) == [digest]
    store.delete(digest)
    assert bucket.everything() == []
    assert all(injected.left != 2 for injected in proxy._faults), "all of it happened"


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_keeps_failing_is_an_error(hasty: S3ObjectStore, proxy: FaultyHTTP, fault: Fault) -> None:
    digest = hasty.put(CONTENT)
    proxy.inject(fault, times=None)
    before = len(proxy.seen)
    for attempt in (
        lambda: hasty.put(b"other"),
        lambda: hasty.get(digest),
        lambda: hasty.get_range(digest, 0, 1),
        lambda: hasty.exists(digest),
        lambda: hasty.written_at(digest),
        lambda: hasty.delete(digest),
        lambda: list(hasty.list_digests()),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            attempt()
        assert raised.value.code == "store_unavailable"
    assert len(proxy.seen) - before > 7, "they were tried again"
    before = len(proxy.seen)
    with pytest.raises(StoreUnavailable):
        hasty.ping()
    assert len(proxy.seen) - before == 1, "a ping is not patient"


def test_an_answer_that_is_too_late_is_asked_for_again(bucket: OwnBucket, proxy: FaultyHTTP) -> None:
    store = bucket.open(endpoint=proxy.url, timeout_seconds=2)
    digest = store.put(CONTENT)
    proxy.inject(late(10), method="GET")
    assert store.get(digest) == CONTENT
    assert proxy.counted("GET") >= 2


def test_an_answer_that_drips_is_asked_for_again(bucket: OwnBucket, proxy: FaultyHTTP) -> None:
    """Every piece comes in time, and the whole never would."""
    store = bucket.open(endpoint=proxy.url, timeout_seconds=2)
    digest = store.put(CONTENT)
    proxy.inject(drip(0.5), method="GET")
    assert store.get(digest) == CONTENT
    assert proxy.counted("GET") >= 2


BROKEN = {"cut": cut, "shortened": shorten, "altered": alter}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_what_breaks_on_the_way_is_read_again(store: S3ObjectStore, proxy: FaultyHTTP, fault: Fault) -> None:
    digest = store.put(CONTENT)
    proxy.inject(fault, method="GET", times=2)
    assert store.get(digest) == CONTENT
    assert proxy.counted("GET") >= 3


@pytest.mark.parametrize("fault", [shorten, alter], ids=["shortened", "altered"])
def test_an_object_that_stays_broken_is_noticed(
    hasty: S3ObjectStore, proxy: FaultyHTTP, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hasty.put(CONTENT)
    proxy.inject(fault, method="GET", times=None)
    with pytest.raises(SealBroken, match="altered where it is stored"):
        hasty.get(digest)
    monkeypatch.setattr(hasty, "_intact", lambda digest, content: True)  # noqa: ARG005 - the guard's shape
    assert hasty.get(digest) != CONTENT, "without its guard the store hands out damage"


def test_a_damaged_object_is_noticed_where_it_lies(store: S3ObjectStore, bucket: OwnBucket) -> None:
    digest = store.put(CONTENT)
    bucket.overwrite(digest, b"something else")
    with pytest.raises(SealBroken):
        store.get(digest)
    store.put(CONTENT)
    assert store.get(digest) == CONTENT


@pytest.mark.parametrize("fault", [cut, shorten], ids=["cut", "shortened"])
def test_a_range_that_breaks_on_the_way_is_read_again(store: S3ObjectStore, proxy: FaultyHTTP, fault: Fault) -> None:
    digest = store.put(CONTENT)
    proxy.inject(fault, method="GET", times=2)
    assert store.get_range(digest, 10, 5000) == CONTENT[10:5010]
    assert proxy.counted("GET") >= 3


def test_a_listing_that_breaks_on_the_way_is_read_again(store: S3ObjectStore, proxy: FaultyHTTP) -> None:
    digests = sorted(store.put(bytes([number])) for number in range(5))
    for fault in (cut, shorten):
        proxy.inject(fault, method="GET")
    assert list(store.list_digests()) == digests


def test_an_upload_that_is_damaged_on_the_way_is_refused_and_sent_again(
    store: S3ObjectStore, proxy: FaultyHTTP, bucket: OwnBucket
) -> None:
    proxy.inject(spoil, method="PUT", times=2)
    digest = store.put(CONTENT)
    assert proxy.counted("PUT") >= 3
    assert bucket.open().get(digest) == CONTENT


def test_a_damaged_part_of_a_large_upload_is_refused_and_sent_again(bucket: OwnBucket, proxy: FaultyHTTP) -> None:
    store = bucket.open(endpoint=proxy.url, part_bytes=5 << 20)
    content = CONTENT * 140
    assert len(content) > 10 << 20
    proxy.inject(spoil, method="PUT", path="partNumber=2")
    digest = store.put(content)
    assert bucket.open().get(digest) == content
    assert bucket.client._list_multipart_uploads(bucket.options.bucket).uploads == [], "the first try left nothing"


def test_an_upload_that_is_lost_is_noticed(
    store: S3ObjectStore,
    hasty: S3ObjectStore,
    proxy: FaultyHTTP,
    bucket: OwnBucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy.inject(swallow(200), method="PUT", times=2)
    digest = store.put(CONTENT)
    assert bucket.open().get(digest) == CONTENT
    proxy.inject(swallow(200), method="PUT", times=None)
    with pytest.raises(StoreUnavailable, match="lost an object that it had taken"):
        hasty.put(b"other")
    monkeypatch.setattr(hasty, "_arrived", lambda name, size: True)  # noqa: ARG005 - the guard's shape
    assert not bucket.open().exists(hasty.put(b"other")), "without its guard the store believes what it is told"


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
def test_a_delete_that_is_lost_is_noticed(
    proxy: FaultyHTTP, bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch, *, versioned: bool
) -> None:
    if versioned:
        bucket.version(enabled=True)
    store = bucket.open(endpoint=proxy.url, retry_seconds=5)
    digest = store.put(CONTENT)
    proxy.inject(swallow(), method="DELETE", times=None)
    with pytest.raises(ObjectNotDeleted) as noticed:
        store.delete(digest)
    assert noticed.value.code == "object_not_deleted"
    assert proxy.counted("DELETE") >= 2, "it was told again"
    assert bucket.open().exists(digest)
    monkeypatch.setattr(store, "_gone", lambda name: True)  # noqa: ARG005 - the guard's shape
    store.delete(digest)
    assert bucket.open().exists(digest), "without its guard the store believes what it is told"


def test_a_delete_that_is_lost_in_passing_is_told_again(
    store: S3ObjectStore, proxy: FaultyHTTP, bucket: OwnBucket
) -> None:
    digest = store.put(CONTENT)
    proxy.inject(swallow(), method="DELETE", times=2)
    store.delete(digest)
    assert proxy.counted("DELETE") >= 3
    assert bucket.everything() == []


def test_a_store_that_is_killed_and_comes_back_loses_nobody() -> None:
    with ceph() as gateway:
        store = own_bucket(gateway).prepared(retry_seconds=120)
        digest = store.put(CONTENT)
        gateway.kill()
        back = threading.Timer(1.0, gateway.start)
        back.start()
        assert store.get(digest) == CONTENT
        back.join()
        gateway.kill()
        back = threading.Timer(1.0, gateway.start)
        back.start()
        store.delete(store.put(b"other"))
        back.join()
        assert list(store.list_digests()) == [digest]


def test_a_store_that_hangs_is_waited_for_only_so_long(gateway: Ceph, bucket: OwnBucket) -> None:
    digest = bucket.open().put(CONTENT)
    store = bucket.open(timeout_seconds=0.5, retry_seconds=SHORT)
    gateway.pause()
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.get(digest)
    finally:
        gateway.resume()
    assert bucket.open().get(digest) == CONTENT


def test_trouble_is_logged_without_keys_or_names(hasty: S3ObjectStore, proxy: FaultyHTTP, bucket: OwnBucket) -> None:
    proxy.inject(answer(403, code="AccessDenied"), method="PUT")
    proxy.inject(answer(500), method="GET", times=None)
    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        hasty.get("0" * 64)
    assert {line["event"] for line in logs} == {"object_store.again"}
    assert {line["operation"] for line in logs} == {"get"}
    shown = str(logs)
    assert bucket.options.secret_key not in shown
    assert bucket.options.access_key not in shown
