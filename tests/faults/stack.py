"""One deployment to be tormented: a database, a directory, perhaps a broker and a bucket, and processes of `lethe`.

    with stack_of(worlds, built) as stack:      a copy of a world that was built once, in peace
        stack.start("worker-1", "worker")       the commands that operators use
        request = stack.ask(5)                  accepted in this process, through the ordinary use case
        stack.settle()                          all requests completed, no job open, models repaired and certified
        stack.prove()                           see `proof`

When the `with` ends every process is killed with SIGKILL, and their children must follow by themselves: what lives two
minutes later fails the test.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError

from core.domain.errors import LetheError
from core.object_store.directory import DirectoryObjectStore
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors
from tests.faults.processes import MARK, Process, end_all, marked, state_of
from tests.faults.proof import Story, assert_nothing_is_wrong, is_settled, where_it_stands
from tests.faults.worlds import World, Worlds
from tests.integration import world

PATIENCE_SECONDS = 240.0
"""Far more than anything here takes on a machine that does nothing else."""
LEASE_SECONDS = "2"
QUICK = {
    "LETHE_LEASE_SECONDS": LEASE_SECONDS,
    "LETHE_DEACTIVATION_LEASE_SECONDS": LEASE_SECONDS,
    # A test kills whom it likes, and the same job may be struck again and again.
    "LETHE_MAX_ATTEMPTS": "100",
    "LETHE_POLL_SECONDS": "1",
    "LETHE_SWEEP_SECONDS": "1",
    "LETHE_CHECKPOINT_SECONDS": "1",
    "LETHE_COMPUTE_SLOTS": "1",
    "LETHE_LOG_LEVEL": "info",
}


@dataclass
class Stack:
    """A deployment of its own, the processes in it, and what was asked of it."""

    doors: Doors
    worlds: Worlds
    world: World
    variables: dict[str, str]
    directory: Path
    story: Story
    mark: str
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, name: str, *command: str, **variables: str) -> Process:
        """Start a command of `lethe` under a name of its own."""
        everything = {**self.variables, MARK: self.mark, **variables}
        process = Process(name, *command, directory=self.directory, variables=everything)
        self.processes[name] = process
        process.start()
        return process

    def end(self, *names: str) -> None:
        """Kill processes of these names, or all, and forget them."""
        for name in names or tuple(self.processes):
            self.processes.pop(name).kill(children=True)

    def frozen(self) -> list[int]:
        """Return the processes that stand still."""
        return [pid for pid in marked(self.mark) if state_of(pid) == "T"]

    def revive(self) -> None:
        """Start again whatever fell, as a supervisor would."""
        for process in self.processes.values():
            process.start()

    def ask(self, owner: int, **order: Any) -> str:
        """Have somebody deleted, and insist until the request is accepted, as a client does; return the request."""
        key = secrets.token_hex(8)

        def asked() -> str | None:
            with suppress(DBAPIError, LetheError):
                return str(world.ask(self.doors, owner, key=key, **order)["id"])
            return None

        return self.accepted(owner, self.wait(asked, "the request is never accepted"))

    def accepted(self, owner: int, request: str) -> str:
        self.story.requests[request] = owner
        return request

    def wait(self, answer: Callable[[], Any], otherwise: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """Return the first answer that is true; a database that is away is waited for."""
        give_up = time.monotonic() + seconds
        while True:
            with suppress(DBAPIError):
                found = answer()
                if found:
                    return found
            if time.monotonic() > give_up:
                raise AssertionError(f"{otherwise}: {self.where_it_stands()}")
            time.sleep(0.1)

    def reopen(self) -> None:
        """Open the doors of this process again, after the variables changed."""
        self.doors.database.close()
        self.doors = opened(self.variables)

    def settle(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing is left to do, bringing back what fell."""

        def settled() -> bool:
            self.revive()
            return is_settled(self.doors, self.story)

        self.wait(settled, "it never comes to rest", seconds=seconds)

    def prove(self, *, fresh: bool = True) -> None:
        """Assert that nothing was lost, doubled or stale; with `fresh`, that repaired models are as a fresh build is.

        Raises:
            Wrong: something is.
        """
        wanted = (
            self.worlds.fresh_digest(frozenset(self.story.requests.values())) if fresh and self.world.repair else None
        )
        assert_nothing_is_wrong(self.doors, self.story, fresh=wanted)

    def where_it_stands(self) -> str:
        try:
            told = where_it_stands(self.doors, self.story)
        except DBAPIError as trouble:
            told = type(trouble).__name__
        last = {name: process.last_words()[-600:] for name, process in self.processes.items()}
        return f"{told}\n{last}"


@contextmanager
def stack_of(worlds: Worlds, built: World, directory: Path, **variables: str) -> Iterator[Stack]:
    """Copy a world; variables override those of `QUICK`, and name a broker or a bucket."""
    mark = secrets.token_hex(8)
    name = f"faults_{mark}"
    copied = directory / name
    shutil.copytree(built.directory, copied)
    with psycopg.connect(built.server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{built.template}"')
    settings = dict(QUICK)
    settings |= {"LETHE_DATABASE_URL": f"{built.server.rpartition('/')[0]}/{name}", "LETHE_DATA_DIRECTORY": str(copied)}
    settings |= variables
    doors = opened(settings)
    logs = directory / f"{name}-logs"
    logs.mkdir()
    story = Story(models=built.models, leaves=built.leaves, records=built.records)
    stack = Stack(doors, worlds, built, settings, logs, story, mark)
    if doors.settings.s3_endpoint:
        _move_objects(copied / "objects", doors)
    try:
        yield stack
    finally:
        outlived = _end(stack)
        stack.doors.database.close()
        _drop(built.server, name)
    assert not outlived, f"these outlived their parents: {outlived}"


def opened(variables: Mapping[str, str]) -> Doors:
    """Open what these variables name."""
    values: dict[str, Any] = {one.removeprefix("LETHE_").lower(): value for one, value in variables.items()}
    return open_doors(Settings(**values))


def _end(stack: Stack) -> list[str]:
    for process in stack.processes.values():
        process.kill()
    return end_all(stack.mark)


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _move_objects(objects: Path, doors: Doors) -> None:
    """Put what the world was built with into the bucket; names are digests of the contents, so they stay."""
    doors.store.prepare()
    old = DirectoryObjectStore(objects)
    for digest in old.list_digests():
        assert doors.store.put(old.get(digest)) == digest
