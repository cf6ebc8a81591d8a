"""`lethe up` as an operator meets it: the production processes on servers of one's own, and what is said without them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest

from cli.processes import lethe
from cli.serve import Service, background, read_service, start_background
from tests.acceptance import conftest
from tests.acceptance.conftest import Running
from tests.acceptance.test_serve import alive
from tests.integration import world
from tests.servers import ceph, postgres, redis
from tests.servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PARTS = {"api", "dispatcher", "worker", "trainer", "predictor"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five processes and three servers share two cores with whatever else runs here."""
    monkeypatch.setattr(conftest, "PATIENCE", 240.0)


@pytest.fixture(scope="module")
def started() -> Iterator[Mapping[str, str]]:
    with ExitStack() as stack:
        variables: dict[str, str] = {}
        for make in (postgres, redis, ceph):
            variables |= stack.enter_context(make()).variables()
        yield variables


@pytest.fixture
def servers(started: Mapping[str, str]) -> dict[str, str]:
    """The same servers with nothing on them: a database, a bucket and queues of this test's own."""
    name = f"up-{uuid4().hex[:8]}"
    with psycopg.connect(started["LETHE_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    database = started["LETHE_DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    own = {"LETHE_DATABASE_URL": database, "LETHE_S3_BUCKET": name, "LETHE_QUEUE_PREFIX": f"{name}."}
    return dict(started) | own


def refused(**variables: str) -> str:
    """Return what `lethe up` says when it will not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")} | variables
    done = subprocess.run(
        lethe("up", "--port", "0", "--predictor-port", "0"),
        capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_asks_for_a_database_and_a_broker(tmp_path: Path) -> None:
    directory = str(tmp_path / "lethe")
    assert "set LETHE_DATABASE_URL" in refused(LETHE_DATA_DIRECTORY=directory)
    database = "postgresql://127.0.0.1:1/lethe"
    assert "set LETHE_BROKER_URL" in refused(LETHE_DATA_DIRECTORY=directory, LETHE_DATABASE_URL=database)


def test_it_says_which_server_does_not_answer(tmp_path: Path, servers: dict[str, str]) -> None:
    nobody = free_port()
    given = dict(servers) | {"LETHE_DATA_DIRECTORY": str(tmp_path / "lethe")}
    assert "the broker does not answer" in refused(**given | {"LETHE_BROKER_URL": f"redis://127.0.0.1:{nobody}/0"})
    database = f"postgresql://postgres@127.0.0.1:{nobody}/lethe"
    assert "the database does not answer" in refused(**given | {"LETHE_DATABASE_URL": database})


def test_a_deletion_runs_through_it_and_control_c_ends_all(tmp_path: Path, servers: dict[str, str]) -> None:
    directory = tmp_path / "lethe"
    process = start_background(directory, 0, 0, command="up", **servers)
    service = read_service(process, directory)
    try:
        pids = json.loads((directory / "service.json").read_text())["pids"]
        assert set(pids) == PARTS
        headers = {"Authorization": f"Bearer {service.admin_key}"}
        with (
            httpx2.Client(base_url=service.url, headers=headers, timeout=60) as api,
            httpx2.Client(base_url=service.predictor_url, headers=headers, timeout=60) as predictor,
        ):
            running = Running(service, api, predictor)
            running.upload()
            running.build()
            assert running.completed(running.delete(world.address(5), key="up")["id"])["certificates"]
        assert (directory / "admin.key").read_text().strip() == service.admin_key
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert not any(alive(pid) for pid in pids.values())


def test_it_brings_back_what_fell_and_goes_on_after_a_kill(tmp_path: Path, servers: dict[str, str]) -> None:
    directory = tmp_path / "lethe"
    process = start_background(directory, 0, 0, command="up", **servers)
    service = read_service(process, directory)
    try:
        pids = json.loads((directory / "service.json").read_text())["pids"]
        for name in ("dispatcher", "api"):
            os.kill(pids[name], signal.SIGKILL)
        wait_until(lambda: answers(service))
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: not any(alive(pid) for pid in pids.values()))
    with background(directory, 0, 0, command="up", **servers) as again:
        assert again.admin_key == service.admin_key
        assert answers(again)


def answers(service: Service) -> bool:
    try:
        found = httpx2.get(
            f"{service.url}/v1/models", headers={"Authorization": f"Bearer {service.admin_key}"}, timeout=30
        )
    except httpx2.HTTPError:
        return False
    return found.status_code == 200


def wait_until(good: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not good():
        assert time.monotonic() < give_up
        time.sleep(0.1)
