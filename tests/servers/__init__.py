"""Throw-away servers for tests: real ones, on free ports of this machine alone, each with a directory that goes with it.

    with redis() as server:         started, or the test is skipped with the package to install
        server.url                  where it listens; the same after every restart
        server.kill()               SIGKILL, as a machine that loses power; the data stays as it lay
        server.start()              returns when it answers
        server.pause()              SIGSTOP: connections stay open and nobody answers; `resume()` ends it
        server.stop()               as an operator would; `restart()` stops and starts

`process` runs one program, `server` is what all of these can do, and one file each says how a server is set up:
`postgres_server`, `pgbouncer_server`, `redis_server`, `rabbitmq_server`, `ceph_gateway` (an S3-compatible store). `faulty_http` is a proxy that
breaks what passes through it, `given` reads what somebody else started. `python -m tests.servers --redis --s3 -- COMMAND`
runs a command beside such servers.

With LETHE_TEST_REQUIRE_SERVERS=1, as in CI, a missing program fails the test instead of skipping it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import pytest

from tests.servers.ceph_gateway import Ceph
from tests.servers.pgbouncer_server import PgBouncer
from tests.servers.postgres_server import Postgres
from tests.servers.rabbitmq_server import RabbitMQ
from tests.servers.redis_server import Redis
from tests.servers.server import Server

KINDS: Mapping[str, type[Server]] = {"postgres": Postgres, "redis": Redis, "s3": Ceph, "rabbitmq": RabbitMQ}
S = TypeVar("S", bound=Server)
REQUIRED = "LETHE_TEST_REQUIRE_SERVERS"

__all__ = [
    "KINDS",
    "Ceph",
    "PgBouncer",
    "Postgres",
    "RabbitMQ",
    "Redis",
    "Server",
    "ceph",
    "missing",
    "pgbouncer",
    "postgres",
    "rabbitmq",
    "redis",
]


def missing(*names: str) -> str | None:
    """Return a sentence that says what to install for these servers (`KINDS`); None when they can all be started."""
    absent = [sentence for name in names if (sentence := KINDS[name].missing())]
    return "; ".join(absent) or None


def postgres() -> Postgres:
    """Return a PostgreSQL that is reachable over TCP, to be used with `with`."""
    return _usable(Postgres)


def redis() -> Redis:
    """Return a Redis that keeps nothing on disk, to be used with `with`."""
    return _usable(Redis)


def ceph() -> Ceph:
    """Return an S3-compatible store, to be used with `with`."""
    return _usable(Ceph)


def rabbitmq() -> RabbitMQ:
    """Return a RabbitMQ, to be used with `with`."""
    return _usable(RabbitMQ)


def pgbouncer(behind: Postgres) -> PgBouncer:
    """Return a pooler in transaction mode before a PostgreSQL that runs, to be used with `with`."""
    return _usable(PgBouncer, behind)


def _usable(kind: type[S], *arguments: Server) -> S:
    absent = kind.missing()
    if absent is None:
        return kind(*arguments)
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, and {absent}")
    pytest.skip(absent)
