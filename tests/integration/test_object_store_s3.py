"""Objects in a real S3-compatible store: the promises of every store, parts, versions, and what a start refuses."""

from __future__ import annotations

import io
import secrets
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from minio.commonconfig import COMPLIANCE
from minio.objectlockconfig import DAYS, ObjectLockConfig

from core.domain.errors import ObjectMissing, ObjectNotDeleted, StoreUnavailable, Unusable
from core.object_store import bucket as bucket_module
from core.object_store import connections, s3
from core.object_store.s3 import S3ObjectStore
from tests.integration.buckets import OwnBucket, own_bucket
from tests.servers import Ceph
from tests.servers.faulty_http import FaultyHTTP
from tests.unit.object_store.contract import ObjectStoreContract

MEBIBYTE = 1 << 20


@pytest.fixture
def bucket(gateway: Ceph) -> OwnBucket:
    return own_bucket(gateway)


@pytest.fixture
def store(bucket: OwnBucket) -> S3ObjectStore:
    return bucket.prepared()


class TestPlainBucket(ObjectStoreContract):
    """The promises of every object store."""


class TestVersionedBucket(ObjectStoreContract):
    """The same promises where the store keeps what was deleted."""

    @pytest.fixture
    def store(self, bucket: OwnBucket) -> S3ObjectStore:
        store = bucket.prepared()
        bucket.version(enabled=True)
        return store


class TestPrefix(ObjectStoreContract):
    """The same promises below a prefix, beside objects of others."""

    @pytest.fixture
    def store(self, bucket: OwnBucket) -> S3ObjectStore:
        bucket.prepared().put(b"somebody else's")
        return bucket.prepared(prefix="deployments/one/")


def test_objects_lie_under_their_digest(bucket: OwnBucket) -> None:
    digest = bucket.prepared(prefix="one/").put(b"content")
    assert bucket.names() == [f"one/objects/{digest[:2]}/{digest}"]


def test_names_of_others_are_not_listed(bucket: OwnBucket) -> None:
    store = bucket.prepared()
    digest = store.put(b"content")
    for name in ("objects/readme", f"objects/zz/{digest}", f"objects/{digest[:2]}/{digest}.old", "elsewhere"):
        bucket.client.put_object(bucket.options.bucket, name, io.BytesIO(b"x"), 1)
    assert list(store.list_digests()) == [digest]


def test_a_large_object_is_uploaded_in_parts_and_comes_back_whole(bucket: OwnBucket) -> None:
    store = bucket.prepared(part_bytes=5 * MEBIBYTE)
    content = secrets.token_bytes(12 * MEBIBYTE + 7)
    digest = store.put(content)
    mark = bucket.client.stat_object(bucket.options.bucket, bucket.name_of(digest)).etag
    assert mark is not None
    assert mark.endswith("-3"), "three parts"
    assert store.get(digest) == content
    start = 5 * MEBIBYTE - 10
    assert store.get_range(digest, start, 20) == content[start : start + 20]
    store.delete(digest)
    assert bucket.everything() == []


def test_a_listing_goes_on_where_the_last_page_ended(bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bucket.prepared()
    digests = sorted(store.put(bytes([number])) for number in range(30))
    for module in (s3, bucket_module):
        monkeypatch.setattr(module, "PAGE", 10)
    with FaultyHTTP(bucket.gateway.port) as proxy:
        assert list(bucket.open(endpoint=proxy.url).list_digests()) == digests
        assert proxy.counted("GET") >= 4, "three full pages, and one that says that there is no more"


def test_more_objects_than_the_store_lists_at_once(store: S3ObjectStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        digests = sorted(threads.map(store.put, (number.to_bytes(2, "big") for number in range(1010))))
    assert list(store.list_digests()) == digests


@pytest.mark.parametrize("suspended", [False, True], ids=["versioned", "suspended"])
@pytest.mark.parametrize("before", [False, True], ids=["from the start", "later"])
def test_deleting_removes_every_version(bucket: OwnBucket, *, before: bool, suspended: bool) -> None:
    store = bucket.prepared()
    if before:
        store.put(b"content")
    bucket.version(enabled=True)
    digest = store.put(b"content")
    store.put(b"content")
    assert len(bucket.everything()) >= 2, "there are versions to remove"
    if suspended:
        bucket.version(enabled=False)
    store.delete(digest)
    assert bucket.everything() == []


def test_what_others_deleted_in_passing_is_deleted_for_good(bucket: OwnBucket) -> None:
    store = bucket.prepared()
    bucket.version(enabled=True)
    digest = store.put(b"content")
    bucket.client.remove_object(bucket.options.bucket, bucket.name_of(digest))
    assert not store.exists(digest)
    assert sorted(marker for _, marker in bucket.everything()) == [False, True], "the bytes are still there"
    store.delete(digest)
    assert bucket.everything() == []


def test_a_delete_that_asks_for_no_versions_would_leave_the_bytes(
    bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard a versioned bucket keeps everything; with it, nobody believes that it is gone."""
    store = bucket.prepared(retry_seconds=0.2)
    bucket.version(enabled=True)
    digest = store.put(b"content")
    remove = store._bucket.remove
    monkeypatch.setattr(store, "_remove_versions", remove)
    with pytest.raises(ObjectNotDeleted):
        store.delete(digest)
    monkeypatch.setattr(store, "_gone", lambda name: store._bucket.find(name) is None)
    store.delete(digest)
    assert (bucket.name_of(digest), False) in bucket.everything()


def test_a_bucket_that_is_locked_against_deletion_is_refused_at_the_start(bucket: OwnBucket) -> None:
    bucket.client.make_bucket(bucket.options.bucket, object_lock=True)
    bucket.client.set_object_lock_config(bucket.options.bucket, ObjectLockConfig(COMPLIANCE, 1, DAYS))
    with pytest.raises(Unusable, match=f"^what Lethe deletes stays in bucket {bucket.options.bucket} at .*locked"):
        bucket.open(retry_seconds=1).prepare()


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_keys_are_refused_at_the_start_and_not_told(bucket: OwnBucket, wrong: str) -> None:
    bucket.prepared()
    with pytest.raises(Unusable, match="refuses LETHE_S3_ACCESS_KEY and LETHE_S3_SECRET_KEY") as refused:
        bucket.open(**{wrong: "never-a-key"}).prepare()
    assert "never-a-key" not in str(refused.value)
    assert bucket.options.secret_key not in str(refused.value)


def test_wrong_keys_are_an_error_at_work(bucket: OwnBucket) -> None:
    digest = bucket.prepared().put(b"content")
    stranger = bucket.open(secret_key="never-a-key")
    for attempt in (lambda: stranger.get(digest), lambda: stranger.put(b"more"), lambda: stranger.delete(digest)):
        with pytest.raises(StoreUnavailable):
            attempt()
    with pytest.raises(StoreUnavailable):
        stranger.ping()
    assert bucket.open().get(digest) == b"content"


def test_a_missing_bucket_is_made_at_the_start(bucket: OwnBucket) -> None:
    assert not bucket.client.bucket_exists(bucket.options.bucket)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: bucket.prepared(), range(4)))
    assert bucket.client.bucket_exists(bucket.options.bucket)
    assert bucket.everything() == [], "what was tried is gone again"


def test_a_bucket_that_is_missing_at_work_is_not_taken_for_missing_objects(bucket: OwnBucket) -> None:
    store = bucket.open()
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        store.get("0" * 64)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        store.delete("0" * 64)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        store.ping()
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        list(store.list_digests())


def test_an_endpoint_where_nobody_listens_is_refused_at_the_start(bucket: OwnBucket) -> None:
    store = bucket.open(endpoint="http://127.0.0.1:1", retry_seconds=0.2)
    with pytest.raises(Unusable, match=r"does not work, with bucket .* at http://127.0.0.1:1: .* does not answer"):
        store.prepare()


def test_parts_of_an_upload_whose_writer_is_gone_are_dropped_at_the_start(
    bucket: OwnBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, client = bucket.prepared(), bucket.client
    name = bucket.name_of("0" * 64)
    upload = client._create_multipart_upload(bucket.options.bucket, name, {})
    client._upload_part(bucket.options.bucket, name, bytes(5 * MEBIBYTE), None, upload, 1)

    def uploads() -> int:
        return len(client._list_multipart_uploads(bucket.options.bucket).uploads)

    store.prepare()
    assert uploads() == 1, "its writer may be alive"
    monkeypatch.setattr(s3, "ABANDONED_AFTER", timedelta(hours=-1))
    store.prepare()
    assert uploads() == 0


def test_threads_share_a_store(store: S3ObjectStore) -> None:
    def live(number: int) -> bool:
        content = number.to_bytes(2, "big") * 1000
        digest = store.put(content)
        same = store.get(digest) == content
        store.delete(digest)
        return same and not store.exists(digest)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(live, range(100)))
    assert list(store.list_digests()) == []


def test_connections_are_used_again(bucket: OwnBucket) -> None:
    bucket.prepared()
    with FaultyHTTP(bucket.gateway.port) as proxy:
        store = bucket.open(endpoint=proxy.url)
        for number in range(20):
            digest = store.put(bytes([number]) * 100_000)
            store.get(digest)
            store.get_range(digest, 5, 10)
            store.delete(digest)
        with pytest.raises(ObjectMissing):
            store.get(digest)
        assert len(proxy.seen) > 100
        assert proxy.connections < 5


@pytest.mark.skipif(connections._AT_ONCE is None, reason="only Linux can be asked to acknowledge at once")
def test_no_answer_waits_for_an_acknowledgement(store: S3ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux delays an acknowledgement by 40 ms, and a gateway without TCP_NODELAY waits for it before every body."""
    digest = store.put(bytes(20_000))

    def usual() -> float:
        seconds = []
        for _ in range(31):
            start = time.perf_counter()
            store.get(digest)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    prompt = usual()
    monkeypatch.setattr(connections, "_AT_ONCE", None)
    assert prompt < 0.75 * usual()


def test_keys_are_in_no_description(bucket: OwnBucket) -> None:
    shown = repr(bucket.options) + repr(bucket.open().__dict__)
    assert bucket.options.secret_key not in shown
    assert bucket.options.access_key not in shown
