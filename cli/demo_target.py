"""The service that a demo runs against: one of its own in the demo's directory, or one that runs already."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli import demo_directory
from cli.demo_run import Target
from cli.output import CommandFailed, say, unusable
from cli.processes import lethe
from cli.serve import background

START_SECONDS = 60.0


@contextmanager
def running_target(
    directory: Path,
    *,
    port: int,
    predictor_port: int,
    url: str | None,
    predictor_url: str | None,
    base: Path | dict[str, bytes] | None = None,
) -> Iterator[Target]:
    """Run a fresh service in the directory until the `with` ends, or use the one behind `url`.

    `base` is the directory that the model stands on, or the files of one; the service is allowed to read it.

    Raises:
        CommandFailed: the directory is somebody else's, or a running service was named by halves.
        Unusable: the service does not start.
    """
    key = os.environ.get("LETHE_API_KEY", "").strip()
    if url and not (key and predictor_url):
        raise unusable("to use a running service, also give --predictor-url, and set LETHE_API_KEY")
    directory = directory.absolute()
    demo_directory.claim(directory)
    if url and base is not None:
        raise unusable("the base model of texts lies here, where a service elsewhere cannot read it; leave --url away")
    if url and predictor_url:
        yield Target(url=url, predictor_url=predictor_url, key=key, directory=directory, service=None)
        return
    say(f"Starting a service in {directory / 'service'} …")
    model = _written(base, directory / "base-model")
    roots = {} if model is None else {"LETHE_DATA_ROOTS": str(model)}
    with background(directory / "service", port, predictor_port, **roots) as service:
        yield Target(
            url=service.url,
            predictor_url=service.predictor_url,
            key=service.admin_key,
            directory=directory,
            service=service.directory,
            base=model,
        )


def _written(base: Path | dict[str, bytes] | None, directory: Path) -> Path | None:
    if not isinstance(base, dict):
        return None if base is None else base.absolute()
    directory.mkdir(exist_ok=True)
    for name, content in base.items():
        (directory / name).write_bytes(content)
    return directory


def kept_running(target: Target) -> dict[str, Any]:
    """Start the demo's service once more, on the same ports and apart from this process; nothing in it was lost.

    Raises:
        CommandFailed: it does not start.
    """
    ports = [str(urlsplit(address).port) for address in (target.url, target.predictor_url)]
    data = target.directory / "service"
    with (target.directory / "service.log").open("ab") as log:
        process = subprocess.Popen(
            lethe("serve", "--data", str(data), "--port", ports[0], "--predictor-port", ports[1]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ if target.base is None else {**os.environ, "LETHE_DATA_ROOTS": str(target.base)},
        )
    give_up = time.monotonic() + START_SECONDS
    while not _answers(target):
        if process.poll() is not None or time.monotonic() > give_up:
            raise CommandFailed(f"the service did not start again; see {target.directory / 'service.log'}")
        time.sleep(0.1)
    return {
        "url": target.url,
        "predictor_url": target.predictor_url,
        "directory": str(data),
        "admin_key_file": str(data / "admin.key"),
        "pid": process.pid,
    }


def _answers(target: Target) -> bool:
    from cli.client import Client

    with target.client() as api, Client(target.predictor_url, target.key) as predictor:
        try:
            return bool(api.get("/readyz")) and bool(predictor.get("/readyz"))
        except CommandFailed:
            return False
