"""Every command of docker-compose.yml, run as a process: its environment, its health check, and a deletion through all.

What the page says is taken as it stands. Only what a container would have to itself is put somewhere on this machine:
host names become servers made for this test, volumes become directories, and ports become free ones. Services of the web
image run in a Python that has nothing but what `pip install lethe` brings.
"""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import redis as redis_client

from cli.serve import Service
from tests.acceptance.conftest import RECIPE, Running
from tests.images.compose import HOUSE, example, our_services, read
from tests.images.installed import web_only
from tests.integration import world
from tests.servers import ceph, postgres, redis
from tests.servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE = 180.0
ONE_OF_EACH = ("api", "dispatcher", "worker", "trainer", "predictor")


@dataclass
class Deployment:
    """The page's services on this machine."""

    directory: Path
    services: Mapping[str, Any]
    elsewhere: Mapping[str, str]
    """What the page says → what stands for it here: hosts, and the directories of volumes."""
    ports: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        service = self.services[name]
        scratch = self.directory / f"tmp-{name}"
        scratch.mkdir(exist_ok=True)
        outside = web_only() if service["image"] == "lethe-web" else os.environ | {"PYTHONPATH": str(HOUSE)}
        kept = {key: outside[key] for key in ("PATH", "PYTHONPATH", "FORBIDDEN_MODULES", "HOME") if key in outside}
        told = {key: self._here(str(value)) for key, value in service["environment"].items()}
        image = {"LETHE_DATA_DIRECTORY": str(self.directory / "data"), "TMPDIR": str(scratch)}
        return kept | image | told | self.ports | {"LETHE_METRICS_PORT": str(free_port())}

    def command(self, name: str) -> list[str]:
        return self._lethe(self.services[name]["command"])

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        kind, program, *arguments = self.services[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "lethe")
        return self._run(self._lethe(arguments), name)

    def once(self, name: str) -> subprocess.CompletedProcess[str]:
        return self._run(self.command(name), name)

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait_until_healthy(self, name: str) -> None:
        give_up = time.monotonic() + PATIENCE
        while True:
            assert self.running[name].poll() is None, f"the {name} ended: {self.log(name).read_text()[-2000:]}"
            told = self.health(name)
            if told.returncode == 0:
                return
            assert time.monotonic() < give_up, f"{told.stderr}\n{self.log(name).read_text()[-2000:]}"
            time.sleep(0.5)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def _run(self, command: list[str], name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment(name), cwd=self.directory,
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=120,
        )  # fmt: skip

    def _lethe(self, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "cli.main", *map(self._here, arguments)]

    def _here(self, value: str) -> str:
        for there, here in self.elsewhere.items():
            value = value.replace(there, here)
        return value


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("compose")
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        broker = stack.enter_context(redis())
        store = stack.enter_context(ceph())
        variables = example() | {
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            "REDIS_PASSWORD": secrets.token_hex(24),
            "LETHE_S3_ACCESS_KEY": store.access_key,
            "LETHE_S3_SECRET_KEY": store.secret_key,
            "LETHE_LOG_ORIGIN": "lethe.example.org/log",
        }
        _as_in_the_containers(database.url, broker.port, variables)
        elsewhere = {
            "@postgres:5432": f"@127.0.0.1:{database.port}",
            "@redis:6379": f"@127.0.0.1:{broker.port}",
            "objects:8333": f"127.0.0.1:{store.port}",
        }
        services = our_services(read(variables))
        for service in services.values():
            for volume in service["volumes"]:
                name, there = volume.split(":")
                elsewhere[there] = str(directory / name)
                (directory / name).mkdir(mode=0o700, exist_ok=True)
        ports = {"LETHE_HOST": "127.0.0.1", "LETHE_PORT": str(free_port()), "LETHE_PREDICTOR_PORT": str(free_port())}
        made = Deployment(directory, services, elsewhere, ports)
        stack.callback(made.close)
        yield made


def _as_in_the_containers(database_url: str, broker_port: int, variables: Mapping[str, str]) -> None:
    """Give the servers what their images would make from the page: a user of PostgreSQL, and Redis's password."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE lethe LOGIN SUPERUSER PASSWORD '{variables['POSTGRES_PASSWORD']}'")
    with redis_client.Redis(port=broker_port) as client:
        client.config_set("requirepass", variables["REDIS_PASSWORD"])


def test_they_start_in_order_become_healthy_and_carry_a_deletion(deployment: Deployment) -> None:
    prepared = deployment.once("prepare")
    assert prepared.returncode == 0, prepared.stderr
    file = deployment.directory / "admin" / "admin.key"
    key = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in prepared.stdout + prepared.stderr, "a key in a log stays there"
    again = deployment.once("prepare")
    assert again.returncode == 0, again.stderr
    assert file.read_text().strip() == key, "it is made once"

    assert all(deployment.health(name).returncode == 1 for name in ONE_OF_EACH), "nobody is healthy before it runs"
    for name in ONE_OF_EACH:
        deployment.start(name)
    for name in ONE_OF_EACH:
        deployment.wait_until_healthy(name)

    manifest = _deletion(deployment, key)
    assert manifest["number"] >= 2
    assert not (deployment.directory / "data" / "objects").exists(), "objects went to the store"
    assert all(deployment.running[name].poll() is None for name in ONE_OF_EACH)

    for name in ONE_OF_EACH:
        deployment.running[name].terminate()
    for name in ONE_OF_EACH:
        deployment.running[name].wait(PATIENCE)
        assert deployment.health(name).returncode == 1, f"the {name} is gone"


def _deletion(deployment: Deployment, key: str) -> dict[str, Any]:
    """Upload, build, delete and answer; return the manifest that answered after the deletion."""
    url, predictor_url = (
        f"http://127.0.0.1:{deployment.ports[name]}" for name in ("LETHE_PORT", "LETHE_PREDICTOR_PORT")
    )
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx2.Client(base_url=url, headers=headers, timeout=60) as api,
        httpx2.Client(base_url=predictor_url, headers=headers, timeout=60) as predictor,
    ):
        service = Running(Service(url, predictor_url, key, deployment.directory), api, predictor)
        service.upload()
        body = {"name": "classifier", "dataset": "pictures", "recipe": RECIPE}
        made = api.post("/v1/models", json=body)
        assert made.status_code == 201, made.text
        _until(lambda: api.get("/v1/models/classifier"), lambda model: model["state"] == "live")
        receipt = service.delete(world.address(5), key="compose")
        where = f"/v1/deletion-requests/{receipt['id']}"
        assert _until(lambda: api.get(where), lambda found: found["state"] == "completed")["certificates"]
        question = {"model": "classifier", "inputs": [world.image(1).tolist()]}
        answer = _until(lambda: predictor.post("/v1/predict", json=question), lambda found: "manifest" in found)
        return dict(answer["manifest"])


def _until(ask: Callable[[], httpx2.Response], good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    give_up = time.monotonic() + PATIENCE
    while True:
        answer = ask()
        if answer.is_success and good(answer.json()):
            return dict(answer.json())
        assert time.monotonic() < give_up, answer.text
        time.sleep(0.2)


def test_the_trainer_on_a_gpu_is_the_trainer(deployment: Deployment) -> None:
    one, other = deployment.services["trainer"], deployment.services["trainer-gpu"]
    assert one["command"] == other["command"]
    assert one["environment"] | {"LETHE_TRAINER_DEVICE": "cuda"} == other["environment"]
