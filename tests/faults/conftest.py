"""One throw-away PostgreSQL and Redis for the whole suite, worlds built once, and a stack for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.stack import Stack, stack_of
from tests.faults.worlds import World, Worlds
from tests.servers import Ceph, Postgres, Redis, ceph, postgres, redis

FULL = os.environ.get("LETHE_TEST_FAULTS", "short") == "full"
Stacks = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="package", autouse=True)
def _no_stray_settings() -> Iterator[None]:
    """Keep what the environment says of other deployments away from ours and their processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("LETHE_") and not name.startswith("LETHE_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with redis() as server:
        yield server


@pytest.fixture(scope="session")
def gateway() -> Iterator[Ceph]:
    with ceph() as server:
        yield server


@pytest.fixture(scope="session")
def worlds(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return Worlds(postgres_server.url, tmp_path_factory.mktemp("worlds"))


@pytest.fixture
def new_stack(worlds: Worlds, tmp_path: Path) -> Stacks:
    """Return what makes a stack: `with new_stack(LETHE_LEASE_SECONDS="60") as stack`."""

    def make(built: World | None = None, **variables: str) -> AbstractContextManager[Stack]:
        return stack_of(worlds, built or worlds.built(), tmp_path, **variables)

    return make
