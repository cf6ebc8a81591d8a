"""The demo's directory: its own service, evidence and report, and nothing of anybody else's.

lethe-demo/ ├─ service/        data directory of the service
            ├─ base-model/     what texts are read by, where the demo made that itself
            ├─ certificates/   each with its proof; lethe.vkey, log and checkpoint beside them
            ├─ report.html
            └─ demo.json       marks the directory as a demo's, so that the next one may clear it
"""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

from cli import private_postgres
from cli.output import unusable

MARKER = "demo.json"
OURS = (
    "service",
    "base-model",
    "certificates",
    "report.html",
    "result.json",
    "log.jsonl",
    "checkpoint",
    "lethe.vkey",
    "service.log",
    MARKER,
)


def claim(directory: Path) -> None:
    """Make the directory ready for a demo, clearing away an earlier one.

    Raises:
        CommandFailed: it holds something else, cannot be written, or an earlier demo's service still runs in it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / MARKER).exists():
            raise unusable(f"{directory} is not empty and not from an earlier demo; name another with --directory")
        _refuse_running(directory / "service")
        for name in OURS:
            _remove(directory / name)
        (directory / MARKER).write_text(json.dumps({"made_by": "lethe demo"}) + "\n")
        (directory / "certificates").mkdir()
    except OSError as error:
        raise unusable(f"{directory} cannot be used: {error.strerror}") from None


def _refuse_running(service: Path) -> None:
    lock = service / "lock"
    if lock.exists():
        with lock.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise unusable(
                    f"an earlier demo's service still runs in {service}; stop it, or choose another --directory"
                ) from None
    if private_postgres.is_running(service / "postgres"):
        # The service was killed and its database outlived it.
        private_postgres.stop(private_postgres.start(service / "postgres")[0])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
