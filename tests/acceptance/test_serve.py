"""`lethe serve` as an operator meets it: stop, start, kill, and everything that can be in its way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli import private_postgres
from cli.processes import lethe
from cli.serve import read_service, start_background
from tests.acceptance.conftest import Running, running
from tests.integration import world


def serve(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a `lethe serve` that is expected to be refused."""
    command = lethe("serve", "--data", str(directory), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def sentence(refused: subprocess.CompletedProcess[str]) -> str:
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    return refused.stderr


def answers(service: Running) -> dict[str, Any]:
    body = {"model": "classifier", "inputs": [world.image(1).tolist()]}
    service.wait("/v1/models/classifier", lambda model: model["state"] == "live")
    for _ in range(100):
        answer = service.predictor.post("/v1/predict", json=body)
        if answer.status_code == 200:
            return dict(answer.json())
        time.sleep(0.1)
    raise AssertionError(answer.text)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_it_goes_on_after_a_stop_and_after_a_kill_of_everything(tmp_path: Path) -> None:
    directory = tmp_path / "lethe"
    with running(directory) as service:
        service.upload()
        service.build()
        receipt = service.delete(world.address(5), key="before")
        service.completed(receipt["id"])
        manifest = answers(service)["manifest"]
    assert not private_postgres.is_running(directory / "postgres")

    process = start_background(directory)
    again = read_service(process, directory)
    facts = json.loads((directory / "service.json").read_text())
    postmaster = int((directory / "postgres" / "postmaster.pid").read_text().split()[0])
    for pid in [process.pid, *facts["pids"].values(), postmaster]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert again.admin_key

    with running(directory) as service:
        found = service.api.get(f"/v1/deletion-requests/{receipt['id']}").json()
        assert found["state"] == "completed"
        assert service.repaired()["deleted_records"] == world.ROWS_EACH
        assert answers(service)["manifest"]["number"] >= manifest["number"]
        service.completed(service.delete(world.address(6), key="after")["id"])


def test_killing_the_supervisor_alone_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start_background(tmp_path / "lethe")
    read_service(process, tmp_path / "lethe")
    pids = json.loads((tmp_path / "lethe" / "service.json").read_text())["pids"].values()
    process.kill()
    process.communicate()
    give_up = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)
    server, _ = private_postgres.start(tmp_path / "lethe" / "postgres")
    private_postgres.stop(server)


def test_control_c_stops_everything_within_seconds(tmp_path: Path) -> None:
    process = start_background(tmp_path / "lethe")
    read_service(process, tmp_path / "lethe")
    pids = json.loads((tmp_path / "lethe" / "service.json").read_text())["pids"].values()
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert not private_postgres.is_running(tmp_path / "lethe" / "postgres")


def test_a_second_service_on_the_directory_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "lethe"):
        refused = serve(tmp_path / "lethe", "--port", "0", "--predictor-port", "0")
    assert "another Lethe is running on" in sentence(refused)


def test_a_busy_port_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refused = serve(tmp_path / "lethe", "--port", str(port), "--predictor-port", "0")
    assert f"port {port} on 127.0.0.1 is busy" in sentence(refused)
    assert not private_postgres.is_running(tmp_path / "lethe" / "postgres")


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = serve(tmp_path / "file" / "lethe", "--port", "0", "--predictor-port", "0")
    assert "cannot be written" in sentence(refused)


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "lethe"
    with running(directory):
        pass
    server, url = private_postgres.start(directory / "postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '2099_01_01_future'")
    private_postgres.stop(server)
    refused = serve(directory, "--port", "0", "--predictor-port", "0")
    assert "newer schema" in sentence(refused)


@pytest.mark.parametrize("command", ["api", "worker", "predictor"])
def test_a_part_on_its_own_asks_for_its_database(command: str) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    refused = subprocess.run(lethe(command), capture_output=True, text=True, env=variables, timeout=60, check=False)
    assert "LETHE_DATABASE_URL" in sentence(refused)
