"""A real PostgreSQL, a database of its own for each test, and directories for objects and keys.

With LETHE_TEST_S3_ENDPOINT and its kin, `doors` keeps objects in that store, under a prefix of each test's own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cli import private_postgres
from core.persistence.database import Database, migrate
from core.settings import Settings
from core.use_cases.doors import DEFAULT_TENANT, Doors, open_doors
from core.use_cases.prepare_service import prepare_service
from tests.integration.world import settle
from tests.servers import Ceph, ceph
from tests.servers.given import given_s3


@pytest.fixture(scope="module", autouse=True)
def _no_stray_settings() -> Iterator[None]:
    """Keep a store that the environment names for processes away from tests that say where their objects lie."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("LETHE_S3_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Address of a server: the one in LETHE_TEST_DATABASE_URL, or a private one for this session."""
    given = os.environ.get("LETHE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    # Not below pytest's directory: every run that starts closes that to other users, and root's server is another user.
    with tempfile.TemporaryDirectory(prefix="lethe-tests-") as directory:
        server, url = private_postgres.start(Path(directory) / "data")
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


@pytest.fixture(scope="session")
def gateway() -> Iterator[Ceph]:
    """An S3-compatible store for this session; each test makes buckets of its own in it."""
    with ceph() as server:
        yield server


@pytest.fixture
def doors(database_url: str, tmp_path: Path) -> Iterator[Doors]:
    opened = open_doors(Settings(database_url=database_url, data_directory=tmp_path / "lethe", **given_s3()))
    settle(opened)
    prepare_service(opened)
    yield opened
    opened.database.close()


def _named(url: str, name: str) -> str:
    address, _, query = url.partition("?")
    base = address.rpartition("/")[0] if address.count("/") > 2 else address
    return f"{base}/{name}" + (f"?{query}" if query else "")


@pytest.fixture
def elsewhere(database_url: str, doors: Doors, tmp_path: Path, server_url: str, template: str) -> Iterator[Doors]:
    """Return another deployment with a database, objects and keys of its own, but the same tenant key."""
    first = database_url.partition("?")[0].rpartition("/")[2]
    name = f"{first}_b"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        other = open_doors(
            Settings(database_url=database_url.replace(first, name, 1), data_directory=tmp_path / "elsewhere")
        )
        other.keys.put(f"tenant_{DEFAULT_TENANT}", doors.tenant_key(DEFAULT_TENANT))
        prepare_service(other)
        yield other
        other.database.close()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
