from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from core.domain.errors import SealBroken, StoreUnavailable, Unusable
from core.durable_files import write_incoming
from core.object_store.directory import DirectoryObjectStore
from tests.unit.object_store.contract import ObjectStoreContract

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


def test_a_damaged_object_is_noticed_and_healed_by_putting_it_again(
    store: DirectoryObjectStore, tmp_path: Path
) -> None:
    digest = store.put(b"content")
    file_of(tmp_path, digest).write_bytes(b"Content")
    with pytest.raises(SealBroken):
        store.get(digest)
    store.put(b"content")
    assert store.get(digest) == b"content"


class TestDirectory(ObjectStoreContract):
    """The promises of every object store."""


def test_what_was_put_is_found_by_the_next_process(store: DirectoryObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"content")
    assert DirectoryObjectStore(tmp_path / "objects").get(digest) == b"content"


def test_a_deleted_object_leaves_no_file(store: DirectoryObjectStore, tmp_path: Path) -> None:
    store.delete(store.put(b"content"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


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


def test_a_directory_that_vanished_does_not_answer(store: DirectoryObjectStore, tmp_path: Path) -> None:
    store.ping()
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        store.ping()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_somebody_else_is_unusable() -> None:
    with pytest.raises(Unusable, match="cannot write there"):
        DirectoryObjectStore(Path("/proc/objects"))
