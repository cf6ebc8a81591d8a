"""Yesterday's database and bucket are restored, with today's keys and ledger: nobody who was deleted since is served."""

from __future__ import annotations

import psycopg
import pytest

from core.object_store.directory import DirectoryObjectStore
from core.use_cases import check_stores
from core.use_cases.look_after import sign_checkpoint_if_grown
from tests.faults.conftest import Stacks
from tests.faults.processes import run
from tests.faults.proof import Wrong
from tests.faults.stack import Stack
from tests.integration import world
from tests.servers import Ceph

NEW_ORIGIN = "lethe.local/log-restored"


@pytest.fixture
def bucket(gateway: Ceph) -> dict[str, str]:
    return {**gateway.variables(), "LETHE_S3_BUCKET": "faults-restored"}


def delete_and_restore(stack: Stack) -> None:
    """Delete two people to the end; then put database and bucket back to how they were when everything was built."""
    stack.ask(5)
    stack.ask(9)
    world.drain(stack.doors)
    sign_checkpoint_if_grown(stack.doors)
    stack.prove()
    stack.doors.database.close()
    name = stack.variables["LETHE_DATABASE_URL"].rpartition("/")[2]
    with psycopg.connect(stack.world.server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{stack.world.template}"'.encode())
    for digest in list(stack.doors.store.list_digests()):
        stack.doors.store.delete(digest)
    yesterday = DirectoryObjectStore(stack.world.directory / "objects")
    for digest in yesterday.list_digests():
        stack.doors.store.put(yesterday.get(digest))
    # The restored log is shorter than what was signed: it goes on under another name.
    stack.variables["LETHE_LOG_ORIGIN"] = NEW_ORIGIN
    stack.reopen()


def test_nobody_deleted_comes_back(new_stack: Stacks, bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with new_stack(**bucket) as stack:
        delete_and_restore(stack)
        replayed = run("fsck", "--after-restore", "--json", variables=stack.variables)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        assert run("prepare", variables=stack.variables).returncode == 0
        stack.start("worker", "worker")
        stack.settle()
        # Keys of nodes that were made since the backup open nothing that the database knows of: an hour later they go.
        monkeypatch.setattr(check_stores, "OLD_ENOUGH_SECONDS", 0)
        check_stores.sweep_orphans(stack.doors)
        stack.prove()


def test_without_the_replay_they_are_served_again(new_stack: Stacks, bucket: dict[str, str]) -> None:
    with new_stack(**bucket) as stack:
        delete_and_restore(stack)
        refused = run("prepare", variables=stack.variables)
        assert refused.returncode != 0
        assert "--after-restore" in refused.stderr + refused.stdout
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert {"request_lost", "dead_record_live"} <= wrong.value.codes
