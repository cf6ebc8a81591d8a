"""Signs of life of processes that answer nobody: one file per loop, touched after the loop has been to the database.

    <temporary directory>/lethe-pulse-<user id>/<part>.<process id>.<loop>

A process can live while one of its loops hangs, on a broker or a dead connection. So not the process is asked for,
but when each of its loops last came round; `lethe health` looks.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

FEWEST_SECONDS_BETWEEN_BEATS = 1.0
_last: dict[tuple[str, str, int], float] = {}


def beat(part: str, loop: str) -> None:
    """Leave a sign of life of one loop of this process; costs nothing when there was one within the last second."""
    this = part, loop, os.getpid()
    now = time.monotonic()
    if now - _last.get(this, float("-inf")) < FEWEST_SECONDS_BETWEEN_BEATS:
        return
    _last[this] = now
    directory = _directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / f"{part}.{os.getpid()}.{loop}").touch()
    except OSError:
        return  # a full disk must not stop the work; whoever looks will see silence


def silence(part: str) -> float | None:
    """Return the seconds since the quietest loop of any living process of that part came round; None: there is none."""
    now = time.time()
    ages = []
    for file in _directory().glob(f"{part}.*.*"):
        try:
            if _lives(int(file.name.split(".")[1])):
                ages.append(now - file.stat().st_mtime)
            else:
                file.unlink()
        except (ValueError, FileNotFoundError):
            continue
    return max(ages, default=None)


def _directory() -> Path:
    return Path(tempfile.gettempdir()) / f"lethe-pulse-{os.getuid()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
