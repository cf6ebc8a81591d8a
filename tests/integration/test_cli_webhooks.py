"""The commands against a running API, and the receiver that the docs show."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from api.app import create_app
from core.use_cases.doors import Doors
from core.use_cases.manage_webhooks import rotate_secret
from core.use_cases.resend_webhook import send_test_event
from tests.integration import world
from tests.integration.callers import key, service
from tests.integration.receiver import receiving, with_status
from tests.integration.webhook_world import ALLOWED, deliver, deliveries, endpoint_row, hear, make_due

PATIENCE = 60.0
HOUSE = Path(__file__).resolve().parents[2]
Lethe = Callable[..., tuple[int, str]]


@pytest.fixture
def doors(server_url: str, template: str, tmp_path: Path) -> Iterator[Doors]:
    with service(server_url, template, tmp_path / "lethe", webhook_allowed=ALLOWED) as opened:
        yield opened


@pytest.fixture
def address(doors: Doors) -> Iterator[str]:
    """Run the API on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(doors), log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        give_up = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < give_up:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def lethe(doors: Doors, address: str) -> Lethe:
    """Run a command in a process of its own; return its exit status and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    environment |= {"LETHE_API_KEY": key(doors), "LETHE_URL": address}

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "cli.main", "webhooks", *words]
        told = subprocess.run(
            command, cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "Traceback" not in told.stderr
        return told.returncode, told.stdout

    return run


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def value(told: tuple[int, str]) -> Any:
    assert told[0] == 0, told
    return json.loads(told[1])


def test_an_endpoint_is_made_tried_rotated_and_removed_by_commands(doors: Doors, lethe: Lethe) -> None:
    with receiving(with_status(500)) as receiver:
        code, secret = lethe("add", receiver.url, "--type", "job.dead", "--description", "jobs")
        assert code == 0
        assert secret.startswith("whsec_")
        [listed] = value(lethe("list", "--json"))["data"]
        name = listed["id"]
        assert (listed["types"], listed["description"]) == (["job.dead"], "jobs")
        assert name in lethe("list")[1]
        assert receiver.url in lethe("show", name)[1]
        sent = value(lethe("test", name, "--json"))
        deliver(doors)
        receiver.calls[0].signed_with(secret.strip())
        [tried] = value(lethe("deliveries", name, "--json"))["data"]
        assert (tried["id"], tried["last_status"]) == (sent["id"], 500)
        assert "org.lethe.webhook_endpoint.test.v1" in lethe("deliveries", name)[1]
        assert value(lethe("resend", sent["id"], "--json"))["attempts"] == 0
        assert lethe("rotate", name, "--seen", "99")[0] == 1
        code, fresh = lethe("rotate", name)
        assert code == 0
        make_due(doors)
        deliver(doors)
        receiver.calls[1].signed_with(fresh.strip())
        assert value(lethe("disable", name, "--json"))["enabled"] is False
        assert value(lethe("enable", name, "--json"))["enabled"] is True
        assert lethe("remove", name)[0] == 0
    assert lethe("show", name)[0] == 1
    assert value(lethe("list", "--json"))["data"] == []


def test_a_refused_address_is_a_sentence(lethe: Lethe) -> None:
    code, out = lethe("add", "https://10.0.0.1/token-9f3a", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "address_refused"
    assert "token-9f3a" not in out


def test_the_receiver_in_the_docs_takes_what_is_ours_and_refuses_the_rest(doors: Doors) -> None:
    [code] = re.findall(
        r"^```python\n(.*?)^```", (HOUSE / "docs" / "webhooks.md").read_text(), re.MULTILINE | re.DOTALL
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "9000" in code
    endpoint = hear(doors, f"http://127.0.0.1:{port}/")
    environment = os.environ | {"LETHE_WEBHOOK_SECRET": endpoint["secret"]}
    command = [sys.executable, "-c", code.replace("9000", str(port))]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
        try:
            give_up = time.monotonic() + PATIENCE
            while not listens(port) and time.monotonic() < give_up:
                time.sleep(0.02)
            send_test_event(endpoint["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
            deliver(doors)
            assert [row.last_status for row in deliveries(doors)] == [204]
            rotate_secret(endpoint["id"], caller=world.ADMIN, doors=doors)
            send_test_event(endpoint["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
            deliver(doors)
            assert [row.last_status for row in deliveries(doors)] == [204, 204], "the old secret signs too"
            old = endpoint_row(doors, endpoint).previous_key_id
            doors.keys.destroy([old])
            send_test_event(endpoint["id"], caller=world.ADMIN, once=world.NOTHING, doors=doors)
            deliver(doors)
            assert sorted(row.last_status for row in deliveries(doors)) == [204, 204, 400]
        finally:
            running.kill()
