"""The production processes, rung by Celery: a whole deletion over Redis and over RabbitMQ, and over a Redis that dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest

from cli.serve import background
from tests.acceptance import conftest
from tests.acceptance.conftest import Running
from tests.integration.world import ROWS_EACH, address
from tests.servers import Postgres, RabbitMQ, Redis, postgres, rabbitmq, redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
POLLS_NEVER = "3600"
"""So that only a message can wake a worker while its broker is there."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five processes and two servers share two cores with whatever else runs here."""
    monkeypatch.setattr(conftest, "PATIENCE", 240.0)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Redis | RabbitMQ]:
    with redis() if request.param == "redis" else rabbitmq() as server:
        yield server


@contextmanager
def deployed(directory: Path, database: Postgres, broker: Redis | RabbitMQ) -> Iterator[Running]:
    """Run `lethe up` on these servers, with an empty database."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    variables = {
        **database.variables(),
        **broker.variables(),
        "LETHE_POLL_SECONDS": POLLS_NEVER,
        "LETHE_SWEEP_SECONDS": "2",
        "LETHE_COMPUTE_SLOTS": "1",
        "LETHE_S3_ENDPOINT": "",
    }
    with background(directory, 0, 0, command="up", **variables) as service:
        headers = {"Authorization": f"Bearer {service.admin_key}"}
        with (
            httpx2.Client(base_url=service.url, headers=headers, timeout=30) as api,
            httpx2.Client(base_url=service.predictor_url, headers=headers, timeout=30) as predictor,
        ):
            yield Running(service, api, predictor, variables)


def pids(service: Running) -> dict[str, int]:
    return dict(json.loads((service.service.directory / "service.json").read_text())["pids"])


def logs(directory: Path) -> str:
    return "".join(file.read_text() for file in (directory / "logs").glob("*.log"))


def test_a_deletion_from_request_to_certificate_and_repair(
    tmp_path: Path, database: Postgres, broker: Redis | RabbitMQ
) -> None:
    directory = tmp_path / "lethe"
    with deployed(directory, database, broker) as service:
        service.upload()
        service.build()
        before = service.api.get("/v1/models/classifier").json()
        done = service.completed(service.delete(address(5), key="one")["id"])
        assert done["result"] == "unlearned"
        assert [one["guarantee"] for one in done["certificates"]][:1] == ["influence_free"]
        after = service.repaired()
        assert after["deleted_records"] == before["deleted_records"] + ROWS_EACH
        answer = service.predictor.post("/v1/predict", json={"model": "classifier", "inputs": [[[0] * 4] * 4]})
        assert answer.json()["manifest"]["number"] == after["serving"]["number"]
    assert "person-5" not in logs(directory)


def test_a_redis_that_dies_forgets_and_returns_loses_nothing(tmp_path: Path, database: Postgres) -> None:
    directory = tmp_path / "lethe"
    with redis() as broker, deployed(directory, database, broker) as service:
        service.upload()
        service.build()
        broker.kill()
        gone = [service.delete(address(owner), key=f"gone-{owner}") for owner in (5, 6)]
        for receipt in gone:
            service.completed(receipt["id"])
        broker.start()  # empty
        back = [service.delete(address(owner), key=f"back-{owner}") for owner in (7, 8)]
        for receipt in back:
            service.completed(receipt["id"])
        service.repaired()
        # The worker lived through it, under the number that it began with. Killed, it is replaced and takes up the work.
        os.kill(pids(service)["worker"], signal.SIGKILL)
        service.completed(service.delete(address(9), key="killed")["id"])
        assert service.repaired()["deleted_records"] == 5 * ROWS_EACH
