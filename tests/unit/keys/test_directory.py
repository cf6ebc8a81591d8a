from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from core.domain.errors import Conflict, KeyDestroyed, Unusable
from core.durable_files import write_incoming
from core.keys.directory import DirectoryKeyStore

KEY = bytes(range(32))
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryKeyStore:
    return DirectoryKeyStore(tmp_path / "keys")


def files_of(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def create_keys(root: Path, ready: Connection, results: Connection) -> None:
    store = DirectoryKeyStore(root)
    ready.send(None)
    ready.recv()
    results.send([store.get_or_create(f"raced_{number}") for number in range(200)])


def recreate_for_ever(root: Path) -> None:
    store = DirectoryKeyStore(root)
    for _ in range(10**9):
        store.put("raced", KEY)
        store.destroy(["raced"])


def put_for_ever(root: Path) -> None:
    store = DirectoryKeyStore(root)
    for number in range(10**9):
        store.put_many({f"key_{number}_{part}": KEY for part in range(5)})
        store.destroy([f"key_{number}_0"])


def test_a_key_is_returned_as_it_was_put(store: DirectoryKeyStore, tmp_path: Path) -> None:
    store.put("owner_1", KEY)
    store.put("owner_1", KEY)
    assert store.get("owner_1") == KEY
    assert DirectoryKeyStore(tmp_path / "keys").get("owner_1") == KEY
    assert store.exists("owner_1")


def test_another_key_never_replaces_one(store: DirectoryKeyStore) -> None:
    store.put("owner_1", KEY)
    with pytest.raises(Conflict):
        store.put("owner_1", bytes(32))
    assert store.get("owner_1") == KEY


def test_a_key_that_never_was_counts_as_destroyed(store: DirectoryKeyStore) -> None:
    with pytest.raises(KeyDestroyed):
        store.get("owner_1")
    assert not store.exists("owner_1")


def test_a_destroyed_key_is_gone_and_its_bytes_with_it(store: DirectoryKeyStore, tmp_path: Path) -> None:
    store.put_many({"owner_1": KEY, "owner_2": KEY[::-1]})
    [path] = [path for path in files_of(tmp_path) if path.name == "owner_1"]
    second_name = tmp_path / "second_name"
    second_name.hardlink_to(path)
    store.destroy(["owner_1", "owner_1", "never_there"])
    store.destroy(["owner_1"])
    with pytest.raises(KeyDestroyed):
        store.get("owner_1")
    assert second_name.read_bytes() == bytes(32)
    assert list(store.list_ids()) == ["owner_2"]
    assert [path.name for path in files_of(tmp_path / "keys")] == ["owner_2"]


def test_a_destruction_that_was_cut_short_is_finished_when_the_store_is_opened(
    store: DirectoryKeyStore, tmp_path: Path
) -> None:
    store.put("owner_1", KEY)
    [path] = files_of(tmp_path)
    path.rename(tmp_path / "keys" / "doomed" / "owner_1.0")  # as a kill right after the first step leaves it
    with pytest.raises(KeyDestroyed):
        store.get("owner_1")
    DirectoryKeyStore(tmp_path / "keys")
    assert list(files_of(tmp_path)) == []


def test_a_destruction_that_was_cut_short_is_finished_when_it_is_repeated(
    store: DirectoryKeyStore, tmp_path: Path
) -> None:
    store.put("owner_1", KEY)
    [path] = files_of(tmp_path)
    path.rename(tmp_path / "keys" / "doomed" / "owner_1.0")
    store.destroy(["owner_1"])
    assert list(files_of(tmp_path)) == []


def test_an_id_whose_key_was_destroyed_can_get_a_fresh_one(store: DirectoryKeyStore) -> None:
    first = store.get_or_create("owner_1")
    assert store.get_or_create("owner_1") == first
    store.destroy(["owner_1"])
    assert store.get_or_create("owner_1") != first


def test_a_created_key_has_the_size_asked_for(store: DirectoryKeyStore) -> None:
    assert len(store.get_or_create("tenant_1", size=48)) == 48


def test_two_processes_that_race_to_create_keys_agree_on_every_one(tmp_path: Path) -> None:
    doors, outcomes, processes = [], [], []
    for _ in range(2):
        door, their_door = SPAWN.Pipe()
        outcome, their_outcome = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=create_keys, args=(tmp_path, their_door, their_outcome))
        process.start()
        doors.append(door)
        outcomes.append(outcome)
        processes.append(process)
    for door in doors:
        door.recv()
    for door in doors:
        door.send(None)
    first, second = (outcome.recv() for outcome in outcomes)
    for process in processes:
        process.join()
    assert first == second
    assert len(set(first)) == 200
    assert len(list(files_of(tmp_path))) == 200


def test_a_key_that_is_destroyed_while_it_is_read_never_comes_back_as_zeros(tmp_path: Path) -> None:
    store = DirectoryKeyStore(tmp_path)
    process = SPAWN.Process(target=recreate_for_ever, args=(tmp_path,))
    process.start()
    found: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(found) < 3000 and time.monotonic() < deadline:
        with contextlib.suppress(KeyDestroyed):
            found.append(store.get("raced"))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert set(found) == {KEY}


def test_a_killed_writer_leaves_whole_keys_or_none(tmp_path: Path) -> None:
    DirectoryKeyStore(tmp_path)
    process = SPAWN.Process(target=put_for_ever, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    while sum(1 for _ in files_of(tmp_path)) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = DirectoryKeyStore(tmp_path)
    found = [store.get(key_id) for key_id in store.list_ids("key_")]
    assert len(found) > 40
    assert set(found) == {KEY}


def test_files_are_for_this_user_alone(store: DirectoryKeyStore, tmp_path: Path) -> None:
    store.put("owner_1", KEY)
    [path] = files_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "keys").rglob("*") if one.is_dir()} == {0o700}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_only_old_strays_are_swept_when_the_store_is_opened(store: DirectoryKeyStore, tmp_path: Path) -> None:
    del store
    old, young = (write_incoming(tmp_path / "keys", KEY) for _ in range(2))
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    DirectoryKeyStore(tmp_path / "keys")
    assert list(files_of(tmp_path)) == [young]


def test_ids_are_listed_by_their_prefix(store: DirectoryKeyStore) -> None:
    store.put_many({"node_1": KEY, "node_2": KEY, "owner_1": KEY})
    assert sorted(store.list_ids("node_")) == ["node_1", "node_2"]
    assert sorted(store.list_ids()) == ["node_1", "node_2", "owner_1"]


def test_a_batch_of_thousands_takes_seconds(store: DirectoryKeyStore) -> None:
    keys = {f"owner_{number}": os.urandom(32) for number in range(2000)}
    began = time.monotonic()
    store.put_many(keys)
    store.destroy(list(keys))
    assert time.monotonic() - began < 30
    assert list(store.list_ids()) == []


@pytest.mark.parametrize("key_id", ["", "ab", "Upper", "../escape", "a/b", "x" * 65, "new\nline", "owner_1\n"])
def test_an_id_that_could_leave_the_directory_is_refused(store: DirectoryKeyStore, key_id: str) -> None:
    with pytest.raises(ValueError, match="key id"):
        store.put(key_id, KEY)
    with pytest.raises(ValueError, match="key id"):
        store.get(key_id)


def test_an_empty_key_is_refused(store: DirectoryKeyStore) -> None:
    with pytest.raises(ValueError, match="byte"):
        store.put("owner_1", b"")


def test_a_store_that_cannot_be_made_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        Unusable, match=r"^Keys are kept in .*/file/keys, and Lethe cannot write there: Not a directory"
    ):
        DirectoryKeyStore(tmp_path / "file" / "keys")
