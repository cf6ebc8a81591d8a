"""`lethe up`: the processes of a production deployment on this machine, against the servers that the environment names.

    lethe up ─┬─ API           port 8200     LETHE_DATABASE_URL     PostgreSQL
              ├─ dispatcher                  LETHE_BROKER_URL       Redis or RabbitMQ
              ├─ worker        cpu queue     LETHE_S3_ENDPOINT      an S3-compatible store; else a directory
              ├─ trainer       gpu queue
              └─ predictor     port 8201

The same commands as in docker-compose.yml, without Docker. What is not on a server (keys, the ledger, logs) lies in one
directory, and the directory is locked like that of `lethe serve`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli.extras import require_extra
from cli.serve import DataOption, JsonOption, announce, environment, free_port, locked, wait_until_ready
from core.domain.errors import Unusable

if TYPE_CHECKING:
    from core.settings import Settings

ANSWER_SECONDS = 10.0
"""How long a server may take to answer before we give up on it."""
TIMEOUTS = {"socket_connect_timeout": 5, "socket_timeout": 5}
PARTS: Mapping[str, tuple[str, ...]] = {
    "api": ("api",),
    "dispatcher": ("dispatcher",),
    "worker": ("worker", "--queues", "cpu"),
    "trainer": ("worker", "--queues", "gpu"),
    "predictor": ("predictor",),
}
"""Name of a process, as in docker-compose.yml → its command."""


def up(
    data: DataOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    predictor_port: Annotated[int | None, typer.Option(help="Port of the predictor; 0 picks a free one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the production processes against your own PostgreSQL, broker and object store."""
    from cli.processes import stop_at_signals
    from core.settings import Settings

    settings = Settings()
    wanted = {
        "data_directory": (data or settings.data_directory).absolute(),
        "port": settings.port if port is None else port,
        "predictor_port": settings.predictor_port if predictor_port is None else predictor_port,
    }
    settings = settings.model_copy(update=wanted)
    stopping = threading.Event()
    stop_at_signals(stopping, insist=False)
    with ExitStack() as stack:
        _run(stack, settings, stopping, as_json=as_json)


def _run(stack: ExitStack, settings: Settings, stopping: threading.Event, *, as_json: bool) -> None:
    from cli.prepare import prepared
    from cli.processes import Supervisor, lethe
    from core.use_cases.doors import open_doors

    _check_servers(settings)
    directory = settings.data_directory
    stack.enter_context(locked(directory))
    ports = {"port": free_port(settings.host, settings.port)}
    ports["predictor_port"] = free_port(settings.host, settings.predictor_port, but=ports["port"])
    settings = settings.model_copy(update=ports)
    doors = open_doors(settings)
    try:
        admin_key = prepared(doors, directory / "admin.key", seconds=ANSWER_SECONDS)
    finally:
        doors.database.close()
    children = Supervisor(environment(settings), directory / "logs")
    stack.callback(children.stop)
    for number, (name, command) in enumerate(PARTS.items()):
        # One port cannot be everybody's: each process takes the next.
        metrics = settings.metrics_port + number if settings.metrics_port else 0
        children.start(name, lethe(*command), LETHE_METRICS_PORT=str(metrics))
    addresses = {
        "url": f"http://{settings.host}:{settings.port}",
        "predictor_url": f"http://{settings.host}:{settings.predictor_port}",
    }
    wait_until_ready(children, addresses, stopping, directory)
    facts = {**addresses, "directory": str(directory), "admin_key": admin_key, "pids": children.pids()}
    (directory / "service.json").write_text(json.dumps({**addresses, "pid": os.getpid(), "pids": children.pids()}))
    announce(facts, as_json=as_json)
    while not stopping.wait(0.5):
        children.revive()
    if not as_json:
        print("Stopping …", file=sys.stderr)


def _check_servers(settings: Settings) -> None:
    """Return if the environment says where everything is, and the broker answers.

    Raises:
        Unusable: something is not said, not installed, or does not answer.
    """
    if not settings.database_url:
        raise Unusable("set LETHE_DATABASE_URL; `lethe up` runs on a PostgreSQL of yours, `lethe serve` brings its own")
    if not settings.broker_url:
        raise Unusable("set LETHE_BROKER_URL to your Redis or RabbitMQ; `lethe serve` needs none")
    require_extra("worker", "`lethe up`")
    _wait_for_broker(settings.broker_url)


def _wait_for_broker(url: str) -> None:
    from kombu.connection import Connection

    give_up = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with Connection(url, connect_timeout=5, transport_options=TIMEOUTS) as connection:  # type: ignore[no-untyped-call]
                connection.ensure_connection(max_retries=1)
        except Exception:  # noqa: BLE001 - each transport has errors of its own, and some repeat the address
            if time.monotonic() > give_up:
                raise Unusable(f"the broker does not answer after {ANSWER_SECONDS:.0f} seconds") from None
            time.sleep(0.2)
        else:
            return
