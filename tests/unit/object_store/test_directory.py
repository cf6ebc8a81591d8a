from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from core.domain.errors import ObjectMissing, SealBroken, Unusable
from core.durable_files import write_incoming
from core.object_store.directory import DirectoryObjectStore

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryObjectStore:
    return DirectoryObjectStore(tmp_path / "objects")


def file_of(root: Path, digest: str) -> Path:
    return root / "objects" / digest[:2] / digest


def put_for_ever(root: Path) -> None:
    store = DirectoryObjectStore(root)
    for number in range(10**9):
        store.put(number.to_bytes(4, "big") * 100_000)


def test_an_object_is_named_by_its_digest_and_comes_back(store: DirectoryObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    assert store.get(digest) == b"content"
    assert DirectoryObjectStore(tmp_path / "objects").get(digest) == b"content"
    assert store.exists(digest)


def test_putting_twice_keeps_one_object(store: DirectoryObjectStore) -> None:
    assert store.put(b"content") == store.put(b"content")
    assert len(list(store.list_digests())) == 1


def test_a_missing_object_is_refused(store: DirectoryObjectStore) -> None:
    digest = hashlib.sha256(b"never put").hexdigest()
    assert not store.exists(digest)
    with pytest.raises(ObjectMissing):
        store.get(digest)
    with pytest.raises(ObjectMissing):
        store.get_range(digest, 0, 1)


def test_a_damaged_object_is_noticed_and_healed_by_putting_it_again(
    store: DirectoryObjectStore, tmp_path: Path
) -> None:
    digest = store.put(b"content")
    file_of(tmp_path, digest).write_bytes(b"Content")
    with pytest.raises(SealBroken):
        store.get(digest)
    store.put(b"content")
    assert store.get(digest) == b"content"


def test_a_range_is_a_part_of_the_object(store: DirectoryObjectStore) -> None:
    digest = store.put(b"0123456789")
    assert store.get_range(digest, 2, 3) == b"234"
    assert store.get_range(digest, 10, 0) == b""
    assert store.get_range(digest, 0, 10) == b"0123456789"


def test_a_range_beyond_the_end_means_a_damaged_object(store: DirectoryObjectStore) -> None:
    with pytest.raises(SealBroken, match="ends before byte 11"):
        store.get_range(store.put(b"0123456789"), 8, 3)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
def test_a_negative_range_is_refused(store: DirectoryObjectStore, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match=">= 0"):
        store.get_range(store.put(b"0123456789"), offset, length)


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: DirectoryObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    store.delete(digest)
    store.delete(digest)
    assert not store.exists(digest)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_digests_are_listed_in_order(store: DirectoryObjectStore) -> None:
    digests = [store.put(bytes([number])) for number in range(50)]
    assert list(store.list_digests()) == sorted(digests)


@pytest.mark.parametrize("digest", ["", "ab", "../" + "0" * 61, "A" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_is_refused(store: DirectoryObjectStore, digest: str) -> None:
    for method in (store.get, store.exists, store.delete):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            method(digest)


def test_a_killed_writer_leaves_whole_objects_or_none(tmp_path: Path) -> None:
    DirectoryObjectStore(tmp_path)
    process = SPAWN.Process(target=put_for_ever, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    while sum(path.is_file() for path in tmp_path.rglob("*")) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = DirectoryObjectStore(tmp_path)
    digests = list(store.list_digests())
    assert len(digests) >= 19
    assert all(len(store.get(digest)) == 400_000 for digest in digests)  # get checks every digest


def test_only_old_strays_are_swept_when_the_store_is_opened(store: DirectoryObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    old, young = (write_incoming(tmp_path / "objects", b"half an obj") for _ in range(2))
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    os.utime(file_of(tmp_path, digest), (two_hours_ago, two_hours_ago))
    DirectoryObjectStore(tmp_path / "objects")
    assert not old.exists()
    assert young.exists()
    assert store.get(digest) == b"content"


def test_a_store_that_cannot_be_made_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    sentence = "^Objects are kept in .*/file/objects, and Lethe cannot write there: Not a directory.$"
    with pytest.raises(Unusable, match=sentence):
        DirectoryObjectStore(tmp_path / "file" / "objects")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_somebody_else_is_unusable() -> None:
    with pytest.raises(Unusable, match="cannot write there"):
        DirectoryObjectStore(Path("/proc/objects"))
