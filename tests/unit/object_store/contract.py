"""What every object store must do, as a class of tests: a module per store inherits it and provides the fixture `store`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.errors import ObjectMissing, SealBroken
from core.object_store.store import ObjectStore


class ObjectStoreContract:
    """The promises of `core.object_store.store.ObjectStore`."""

    def test_an_object_is_named_by_its_digest_and_comes_back(self, store: ObjectStore) -> None:
        digest = store.put(b"content")
        assert digest == hashlib.sha256(b"content").hexdigest()
        assert store.get(digest) == b"content"
        assert store.exists(digest)

    def test_nothing_is_an_object_too(self, store: ObjectStore) -> None:
        digest = store.put(b"")
        assert store.get(digest) == b""
        assert store.get_range(digest, 0, 0) == b""
        assert list(store.list_digests()) == [digest]

    def test_putting_twice_keeps_one_object(self, store: ObjectStore) -> None:
        assert store.put(b"content") == store.put(b"content")
        assert len(list(store.list_digests())) == 1

    def test_a_missing_object_is_refused(self, store: ObjectStore) -> None:
        digest = hashlib.sha256(b"never put").hexdigest()
        assert not store.exists(digest)
        assert store.written_at(digest) is None
        with pytest.raises(ObjectMissing):
            store.get(digest)
        for length in (0, 1):
            with pytest.raises(ObjectMissing):
                store.get_range(digest, 0, length)

    def test_a_range_is_a_part_of_the_object(self, store: ObjectStore) -> None:
        digest = store.put(b"0123456789")
        assert store.get_range(digest, 2, 3) == b"234"
        assert store.get_range(digest, 10, 0) == b""
        assert store.get_range(digest, 0, 10) == b"0123456789"

    @pytest.mark.parametrize(("offset", "length"), [(8, 3), (10, 1), (11, 1)])
    def test_a_range_beyond_the_end_means_a_damaged_object(self, store: ObjectStore, offset: int, length: int) -> None:
        with pytest.raises(SealBroken, match=f"ends before byte {offset + length}"):
            store.get_range(store.put(b"0123456789"), offset, length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
    def test_a_negative_range_is_refused(self, store: ObjectStore, offset: int, length: int) -> None:
        with pytest.raises(ValueError, match=">= 0"):
            store.get_range(store.put(b"0123456789"), offset, length)

    def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store: ObjectStore) -> None:
        digest, other = store.put(b"content"), store.put(b"other")
        store.delete(digest)
        store.delete(digest)
        assert not store.exists(digest)
        with pytest.raises(ObjectMissing):
            store.get(digest)
        assert list(store.list_digests()) == [other]

    def test_a_deleted_object_may_be_put_again(self, store: ObjectStore) -> None:
        digest = store.put(b"content")
        store.delete(digest)
        assert store.put(b"content") == digest
        assert store.get(digest) == b"content"

    def test_digests_are_listed_in_order(self, store: ObjectStore) -> None:
        assert list(store.list_digests()) == []
        digests = [store.put(bytes([number])) for number in range(50)]
        assert list(store.list_digests()) == sorted(digests)

    def test_an_object_knows_when_it_was_put(self, store: ObjectStore) -> None:
        written = store.written_at(store.put(b"content"))
        assert written is not None
        assert written.tzinfo is not None
        assert abs(written - datetime.now(UTC)) < timedelta(minutes=10)

    @pytest.mark.parametrize("digest", ["", "ab", "../" + "0" * 61, "A" * 64, "0" * 64 + "\n"])
    def test_what_is_no_digest_is_refused(self, store: ObjectStore, digest: str) -> None:
        for method in (store.get, store.exists, store.delete, store.written_at):
            with pytest.raises(ValueError, match="64 hexadecimal digits"):
                method(digest)

    def test_a_store_can_be_prepared_again_and_keeps_what_it_has(self, store: ObjectStore) -> None:
        digest = store.put(b"content")
        store.prepare()
        store.ping()
        assert list(store.list_digests()) == [digest]
