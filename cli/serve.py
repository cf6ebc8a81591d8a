"""`lethe serve`: the whole service in one directory, and its parts `api`, `worker` and `predictor` on their own.

    lethe serve ─┬─ private PostgreSQL      postgres/   (or the one in LETHE_DATABASE_URL)
                 ├─ API                     port 8200
                 ├─ worker                  objects/  keys/
                 └─ predictor               port 8201

The directory is locked: a second `lethe serve` on it is refused. Killed at any point, the next start goes on where the
database says things are.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.extras import require_extra
from core.domain.errors import Unusable
from core.domain.job import Lane

READY_SECONDS = 60.0
BUSY_SECONDS = 4.0
"""How long a port may stay busy: orphans of a killed service need a moment to notice."""
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Directory of the service. [env: LETHE_DATA_DIRECTORY]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@dataclass(frozen=True)
class Service:
    """A running service, as its starter needs to know it."""

    url: str
    predictor_url: str
    admin_key: str
    directory: Path


def serve(
    data: DataOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    predictor_port: Annotated[int | None, typer.Option(help="Port of the predictor; 0 picks a free one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole service: database, API, worker and predictor."""
    from cli.processes import stop_at_signals
    from core.settings import Settings

    settings = Settings()
    directory = (data or settings.data_directory).absolute()
    wanted = {
        "data_directory": directory,
        "port": settings.port if port is None else port,
        "predictor_port": settings.predictor_port if predictor_port is None else predictor_port,
    }
    stopping = threading.Event()
    stop_at_signals(stopping, insist=False)
    with ExitStack() as stack:
        _run(stack, settings.model_copy(update=wanted), stopping, as_json=as_json)


def _run(stack: ExitStack, settings: Any, stopping: threading.Event, *, as_json: bool) -> None:
    from cli import private_postgres
    from cli.processes import Supervisor, lethe
    from core.use_cases.doors import open_doors
    from core.use_cases.prepare_service import prepare_service

    require_extra("worker" if settings.database_url else "embedded", "`lethe serve`")
    directory: Path = settings.data_directory
    stack.enter_context(locked(directory))
    # An explicit port is checked before anything is started; a busy one must not leave a database behind.
    ports = {"port": free_port(settings.host, settings.port)}
    ports["predictor_port"] = free_port(settings.host, settings.predictor_port, but=ports["port"])
    if settings.database_url:
        url = settings.database_url
    else:
        server, url = private_postgres.start(directory / "postgres")
        stack.callback(private_postgres.stop, server)
    settings = settings.model_copy(update={**ports, "database_url": url})
    doors = open_doors(settings)
    doors.database.wait_until_ready(20)
    admin_key = prepare_service(doors)
    doors.database.close()
    if admin_key is not None:
        _keep_admin_key(directory, admin_key)
    # Whatever broker the environment names is not for this service: its worker listens to the database.
    children = Supervisor({**environment(settings), "LETHE_BROKER_URL": ""}, directory / "logs")
    stack.callback(children.stop)
    for name in ("api", "predictor", "worker"):
        children.start(name, lethe(name))
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


def environment(settings: Any) -> dict[str, str]:
    """Return the variables that give a child exactly these settings."""
    return {
        f"LETHE_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None and value != ""
    }


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process alone, and make it if there is none.

    Raises:
        Unusable: it cannot be written, or somebody else holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a")
    except OSError as error:
        raise Unusable(f"{directory} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"another Lethe is running on {directory}") from None
        yield


def free_port(host: str, port: int, *, but: int | None = None) -> int:
    """Return the port if it can be listened on, or any free one for 0.

    Raises:
        Unusable: somebody else listens there.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                pass
            else:
                found = int(probe.getsockname()[1])
                if found != but:
                    return found
            if time.monotonic() > give_up or port == but:
                raise Unusable(
                    f"port {port} on {host} is busy; choose another with --port or --predictor-port"
                ) from None
        time.sleep(0.2)


def _keep_admin_key(directory: Path, key: str) -> None:
    path = directory / "admin.key"
    path.touch(mode=0o600)
    path.write_text(key + "\n")


def wait_until_ready(children: Any, addresses: dict[str, str], stopping: threading.Event, directory: Path) -> None:
    import httpx2

    give_up = time.monotonic() + READY_SECONDS
    for name, address in (("api", addresses["url"]), ("predictor", addresses["predictor_url"])):
        while not stopping.is_set():
            try:
                if httpx2.get(f"{address}/readyz", timeout=2).status_code == 200:  # noqa: PLR2004
                    break
            except httpx2.HTTPError:
                pass
            if children.exited(name) is not None or time.monotonic() > give_up:
                raise Unusable(f"the {name} does not start; see {directory / 'logs' / name}.log")
            time.sleep(0.05)


def announce(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts), flush=True)
        return
    print(f"API        {facts['url']}   (documentation: {facts['url']}/docs)")
    print(f"Predictor  {facts['predictor_url']}")
    print(f"Directory  {facts['directory']}")
    if facts["admin_key"]:
        print(f"Admin key  {facts['admin_key']}")
        print("           Shown this once; a copy lies in admin.key in the directory. Move it to a safe place.")
    print("Ctrl-C stops everything; nothing is lost.", flush=True)


def api() -> None:
    """Run the API alone, with the settings of the environment."""
    from api.app import create_app

    _serve_application(create_app(), "port")


def predictor() -> None:
    """Run a predictor alone: it follows the live manifests and answers predictions."""
    require_extra("worker", "`lethe predictor`")
    from worker.predictor import create_predictor

    _serve_application(create_predictor(), "predictor_port")


def worker(
    queues: Annotated[
        str | None,
        typer.Option(help="Which jobs to take: cpu (switch slices off), gpu (train), or both. [env: LETHE_QUEUES]"),
    ] = None,
) -> None:
    """Run a worker alone: it takes jobs until it is stopped, and then hands back what is not done."""
    from core.settings import Settings

    settings = Settings()
    if not settings.database_url:
        raise Unusable("set LETHE_DATABASE_URL; `lethe serve` starts a worker of its own")
    lanes = _lanes(settings.queues if queues is None else queues)
    if Lane.COMPUTE in lanes:
        require_extra("worker", "`lethe worker` with the gpu queue")
    if settings.broker_url and len(lanes) > 1:
        _work_apart(settings, lanes)
        return
    _work_here(settings, lanes)


def _lanes(queues: str) -> tuple[Lane, ...]:
    """Return the lanes of some queues, `cpu,gpu`.

    Raises:
        Unusable: there is no such queue.
    """
    wanted = {word.strip() for word in queues.split(",") if word.strip()}
    if not wanted or not wanted <= {lane.queue for lane in Lane}:
        raise Unusable("LETHE_QUEUES and --queues take cpu, gpu, or both with a comma")
    return tuple(lane for lane in Lane if lane.queue in wanted)


def _work_apart(settings: Any, lanes: tuple[Lane, ...]) -> None:
    """Run one process per queue, so that a deletion never waits behind training for its message."""
    from cli.processes import Supervisor, end_with_supervisor, lethe, stop_at_signals
    from core.logging import configure_logging

    configure_logging()
    end_with_supervisor()
    stopping = threading.Event()
    stop_at_signals(stopping)
    children = Supervisor({})
    for number, lane in enumerate(lanes):
        # Each has its own counters, so each its own port.
        port = settings.metrics_port + number if settings.metrics_port else 0
        command = lethe("worker", "--queues", lane.queue)
        children.start(lane.queue, command, LETHE_METRICS_PORT=str(port))
    while not stopping.wait(0.5):
        children.revive()
    children.stop()


def _work_here(settings: Any, lanes: tuple[Lane, ...]) -> None:
    from cli.processes import stop_at_signals
    from core.use_cases.doors import open_doors
    from worker.loop import Worker

    _begin(settings)
    doors = open_doors(settings)
    if settings.broker_url:
        from worker.consumer import BellWorker

        working: Any = BellWorker(doors, lanes)
    else:
        working = Worker(doors, lanes)
    stop_at_signals(working.stopping)
    working.run()
    doors.database.close()


def dispatcher() -> None:
    """Run the dispatcher of a production deployment: it rings for waiting jobs, looks after them, and calls back."""
    from cli.processes import stop_at_signals
    from core.settings import Settings
    from core.use_cases.doors import open_doors
    from worker.dispatcher import Dispatcher

    settings = Settings()
    if not settings.database_url:
        raise Unusable("set LETHE_DATABASE_URL; `lethe serve` needs no dispatcher")
    if not settings.broker_url:
        raise Unusable("set LETHE_BROKER_URL; without a broker, workers listen to the database and need no dispatcher")
    _begin(settings)
    doors = open_doors(settings)
    dispatching = Dispatcher(doors)
    stop_at_signals(dispatching.stopping)
    dispatching.run()
    doors.database.close()


def _begin(settings: Any) -> None:
    """Do what every process without an address does first."""
    from cli.processes import end_with_supervisor
    from core import metrics
    from core.logging import configure_logging

    configure_logging()
    end_with_supervisor()
    if settings.metrics_port:
        metrics.serve(settings.metrics_port, settings.metrics_host)


def _serve_application(application: Any, port: str) -> None:
    import uvicorn

    from cli.processes import end_with_supervisor
    from core.logging import configure_logging
    from core.settings import Settings

    configure_logging()
    end_with_supervisor()
    settings = Settings()
    if not settings.database_url:
        raise Unusable("set LETHE_DATABASE_URL, or run `lethe serve`")
    # What is loaded by now stays: looking through it for garbage would hold up every request now and then.
    gc.freeze()
    # What a request makes is gone without it, by its count of references: look for circles once in some requests only.
    gc.set_threshold(20_000, 20, 20)
    uvicorn.run(
        application,
        host=settings.host,
        port=getattr(settings, port),
        # Our own log line names the route; uvicorn's would repeat the address as it was called.
        access_log=False,
        log_config=None,  # what it has to say goes through our logs
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


@contextmanager
def background(
    data: Path, port: int = 0, predictor_port: int = 0, *, command: str = "serve", **variables: str
) -> Iterator[Service]:
    """Run `lethe serve` as a subprocess until the `with` ends; for the demo and for tests.

    Args:
        data: directory of the service.
        command: `up` runs the production processes instead, against the servers that the environment names.
        port: of the API; 0 picks a free one.
        predictor_port: of the predictor; 0 picks a free one.
        variables: more environment, such as LETHE_LEASE_SECONDS="2".

    Raises:
        Unusable: it did not start; the sentence is its own.
    """
    process = start_background(data, port, predictor_port, command=command, **variables)
    try:
        yield read_service(process, data)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        _complaints(data).unlink(missing_ok=True)


def start_background(
    data: Path, port: int = 0, predictor_port: int = 0, *, command: str = "serve", **variables: str
) -> subprocess.Popen[str]:
    """Start `lethe serve` or `lethe up` and return at once."""
    from cli.processes import lethe

    arguments = ("--data", str(data), "--port", str(port), "--predictor-port", str(predictor_port), "--json")
    # A file, not a pipe: nobody reads it while the service runs, and a full pipe would stop the service.
    with _complaints(data).open("w") as complaints:
        return subprocess.Popen(
            lethe(command, *arguments),
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,
        )


def _complaints(data: Path) -> Path:
    return (
        Path(tempfile.gettempdir())
        / f"lethe-serve-{hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:16]}.err"
    )


def read_service(process: subprocess.Popen[str], data: Path) -> Service:
    """Wait until a service started in the background says where it is.

    Raises:
        Unusable: it ended instead; the sentence is its own.
    """
    line = process.stdout.readline() if process.stdout is not None else ""
    try:
        facts = json.loads(line)
        key = facts["admin_key"] or (data / "admin.key").read_text().strip()
        return Service(facts["url"], facts["predictor_url"], key, data)
    except (ValueError, KeyError, OSError):
        process.kill()
        process.wait()
        complaint = _complaints(data).read_text()
        raise Unusable(complaint.strip() or line.strip() or "the service did not start") from None
