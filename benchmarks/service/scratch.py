"""A database and processes of a benchmark's own, thrown away afterwards.

The server is the one in LETHE_TEST_DATABASE_URL, or a private PostgreSQL in a temporary directory; rivals share it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
from sqlalchemy import make_url

from benchmarks.service.report import HOUSE
from cli import private_postgres
from cli.serve import free_port
from core.settings import Settings
from core.use_cases.doors import DEFAULT_TENANT, Doors, open_doors
from core.use_cases.prepare_service import prepare_service

START_SECONDS = 60.0
TENANT_KEY = bytes([4]) * 32
"""Fixed, so that references, and with them everybody's place, are the same in every run."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Scratch:
    """A migrated database, a key store and an object store that nobody else uses."""

    doors: Doors
    admin_key: str
    server: str
    """What the PostgreSQL calls itself."""

    @property
    def url(self) -> str:
        return self.doors.settings.database_url

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment that gives a process of ours these stores."""
        settings = self.doors.settings
        return {"LETHE_DATABASE_URL": settings.database_url, "LETHE_DATA_DIRECTORY": str(settings.data_directory)}


@contextmanager
def server() -> Iterator[str]:
    """Return the address of a PostgreSQL: the one in LETHE_TEST_DATABASE_URL, or a private one that ends with us."""
    given = os.environ.get("LETHE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="lethe-benchmark-") as directory:
        running, url = private_postgres.start(Path(directory) / "postgres")
        try:
            yield url
        finally:
            private_postgres.stop(running)


@contextmanager
def scratch(on: str | None = None, **settings: Any) -> Iterator[Scratch]:
    """Open stores of our own and drop them at the end.

    Args:
        on: address of a server on which to make the database; None: of `server`.
        settings: what else to set.
    """
    with ExitStack() as stack:
        url = stack.enter_context(_database(on or stack.enter_context(server())))
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="lethe-benchmark-"))
        doors = open_doors(Settings(database_url=url, data_directory=Path(directory) / "lethe", **settings))
        stack.callback(doors.database.close)
        doors.keys.put(f"tenant_{DEFAULT_TENANT}", TENANT_KEY)
        admin_key = prepare_service(doors)
        assert admin_key is not None
        yield Scratch(doors, admin_key, _server_version(url))


@contextmanager
def _database(address: str) -> Iterator[str]:
    name = f"lethe_benchmark_{uuid4().hex[:10]}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield make_url(address).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _server_version(url: str) -> str:
    with psycopg.connect(url) as connection:
        settings = ("server_version", "shared_buffers", "fsync", "synchronous_commit")
        return ", ".join(f"{name}={connection.execute(f'SHOW {name}').fetchone()[0]}" for name in settings)  # type: ignore[index]


@dataclass(frozen=True)
class Web:
    """A web process under test."""

    url: str
    pid: int

    def processor_seconds(self) -> float:
        return processor_seconds([self.pid])


def processor_seconds(pids: Collection[int]) -> float:
    """Return user and system seconds that these processes and their living descendants used so far."""
    wanted, used, known = set(pids), 0.0, {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdecimal() else []
        except OSError:
            continue  # it ended meanwhile
        if fields:
            known[int(entry.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS)
    for pid in sorted(known):
        parent, seconds = known[pid]
        if pid in wanted or parent in wanted:
            wanted.add(pid)
            used += seconds
    return used


@contextmanager
def web(command: Sequence[str], variables: Mapping[str, str], *, port: str, ready: str) -> Iterator[Web]:
    """Run a web process until the `with` ends.

    Args:
        command: what to start.
        variables: its environment, on top of ours.
        port: name of the variable that tells it its port.
        ready: path that answers 200 when it is up.
    """
    number = free_port("127.0.0.1", 0)
    address = f"http://127.0.0.1:{number}"
    environment = {**os.environ, **variables, port: str(number), "PYTHONPATH": str(HOUSE)}
    # A file, not /dev/null: a service writes its log somewhere.
    with tempfile.NamedTemporaryFile(prefix="lethe-benchmark-", suffix=".log") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=HOUSE, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_for(f"{address}{ready}", process, Path(log.name))
            yield Web(address, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx2.get(address, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not answer on {address}:\n{log.read_text()[-2000:]}")
