"""A hundred clients at once against few connections: they take turns, and nobody's request dies of waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import pytest
import uvicorn

from api.app import create_app
from core.persistence.database import Database
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import key, subject

CLIENTS, EACH, CONNECTIONS = 100, 3, 4


@pytest.fixture
def narrow(doors: Doors) -> Iterator[Doors]:
    """Few connections, and no patience at all with a thread that finds none free."""
    settings = doors.settings.model_copy(update={"database_connections": CONNECTIONS})
    database = Database(doors.settings.database_url, pool_size=CONNECTIONS)
    database.engine.pool._timeout = 0.0  # type: ignore[attr-defined]
    yield replace(doors, database=database, settings=settings)
    database.close()


@pytest.fixture
def address(narrow: Doors) -> Iterator[str]:
    """Return the address of the API behind a real server, in this process."""
    config = uvicorn.Config(create_app(narrow), host="127.0.0.1", port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    give_up = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_hundred_clients_share_four_connections(doors: Doors, address: str) -> None:
    world.built(doors, repair=False)
    bearer = {"Authorization": f"Bearer {key(doors)}"}

    def call(number: int) -> list[int]:
        with httpx2.Client(base_url=address, headers=bearer, timeout=300) as client:
            once = {"Idempotency-Key": f"load-{number}"}
            return [
                answer.status_code
                for _ in range(EACH)
                for answer in (
                    client.get("/v1/models/classifier"),
                    client.get("/v1/jobs"),
                    client.post("/v1/deletion-requests", json=subject(number % world.OWNERS), headers=once),
                )
            ]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [status for part in pool.map(call, range(CLIENTS)) for status in part]
    assert len(answers) == CLIENTS * EACH * 3
    assert set(answers) == {200, 202}
