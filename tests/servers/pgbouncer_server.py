"""PgBouncer in transaction mode before a PostgreSQL of ours: every transaction may get another backend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import ClassVar

import psycopg

from tests.servers.postgres_server import DATABASE, Postgres
from tests.servers.process import Child, free_port, program
from tests.servers.server import Server

BACKENDS = 3
"""Connections to PostgreSQL, fewer than clients have to the pooler: they take turns after each transaction."""


class PgBouncer(Server):
    """One PgBouncer, which asks for no password."""

    name: ClassVar[str] = "pgbouncer"

    def __init__(self, behind: Postgres) -> None:
        self.behind = behind
        super().__init__()

    @classmethod
    def missing(cls) -> str | None:
        return None if program("pgbouncer") else "PgBouncer is not installed (apt-get install pgbouncer)"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{DATABASE}"

    def variables(self) -> Mapping[str, str]:
        return {"LETHE_DATABASE_URL": self.url, "LETHE_DATABASE_LISTEN_URL": self.behind.url}

    def _prepare(self) -> Child:
        self.port = free_port()
        (self.directory / "users").write_text('"postgres" ""\n')
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n{DATABASE} = host=127.0.0.1 port={self.behind.port} dbname={DATABASE}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.directory / 'users'}\n"
            f"pool_mode = transaction\ndefault_pool_size = {BACKENDS}\n"
        )
        user = ""
        if os.geteuid() == 0:  # it refuses to run as root; Debian's package for it brings this user along
            user = "postgres"
            shutil.chown(self.directory, user)
        command = [program("pgbouncer") or "pgbouncer", str(self.directory / "pgbouncer.ini")]
        return Child(command, log=self.directory / "pgbouncer.log", user=user)

    def _ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=5, prepare_threshold=None) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
