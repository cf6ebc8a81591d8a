"""A real PostgreSQL, a database of its own for each test, and directories for objects and keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cli import private_postgres
from core.persistence.database import Database, migrate
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors
from core.use_cases.prepare_service import prepare_service
from tests.integration.world import settle


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server: the one in LETHE_TEST_DATABASE_URL, or a private one for this session."""
    given = os.environ.get("LETHE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    server, url = private_postgres.start(tmp_path_factory.mktemp("postgres") / "data")
    yield url
    private_postgres.stop(server)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """A migrated database that others are copied from: a tenth of a second instead of a migration."""
    name = f"lethe_template_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        database = Database(_named(server_url, name))
        migrate(database)
        database.close()
        yield name
        connection.execute(f'DROP DATABASE "{name}"')


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    name = f"lethe_test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield _named(server_url, name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def doors(database_url: str, tmp_path: Path) -> Iterator[Doors]:
    opened = open_doors(Settings(database_url=database_url, data_directory=tmp_path / "lethe"))
    settle(opened)
    prepare_service(opened)
    yield opened
    opened.database.close()


def _named(url: str, name: str) -> str:
    address, _, query = url.partition("?")
    base = address.rpartition("/")[0] if address.count("/") > 2 else address
    return f"{base}/{name}" + (f"?{query}" if query else "")
