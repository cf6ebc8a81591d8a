"""Whole files or none: how the directory stores write, so that a kill at any moment leaves nothing half done.

A file is written under a name of chance in `incoming/`, flushed to the disk, and only then given its real name; the
directory that holds the name is flushed last. What a killed process left in `incoming/` has no other name that counts,
and is swept when a store is opened, once it is older than an hour and can belong to nobody alive.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.domain.errors import Unusable

INCOMING = "incoming"
STRAY_AFTER_SECONDS = 3600
FAN_OUT = tuple(f"{number:02x}" for number in range(256))
"""Names of the directories that files are spread over: no directory grows to where listing it is slow."""


def open_directory(root: Path, *, holds: str) -> None:
    """Make a store's directories, readable by this user alone, and sweep what killed writers left.

    Args:
        root: the store's directory; made when it is missing.
        holds: what it holds, as the subject of a sentence, such as "Objects".

    Raises:
        Unusable: it cannot be made or written to.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        for name in (INCOMING, *FAN_OUT):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        sync_directories([root])
        write_incoming(root, b"").unlink()
        sweep_strays(root)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown reason"
        raise Unusable(f"{holds} are kept in {root}, and Lethe cannot write there: {reason}.") from error


def write_incoming(root: Path, content: bytes) -> Path:
    """Write content to a new file in `incoming/`, flush it to the disk and return its path."""
    path = root / INCOMING / secrets.token_hex(16)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path


def sync_directories(directories: Iterable[Path]) -> None:
    """Flush each directory once, so that the names in it outlast a power cut."""
    for directory in sorted(set(directories)):
        sync_directory(directory)


def sync_directory(directory: Path | str) -> None:
    """Flush one directory."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_strays(root: Path) -> None:
    """Remove files in `incoming/` that are older than an hour; whoever wrote them is gone."""
    oldest = time.time() - STRAY_AFTER_SECONDS
    for path in (root / INCOMING).iterdir():
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except FileNotFoundError:  # its writer finished, or another process swept it
            continue


def list_names(root: Path) -> Iterator[str]:
    """Yield the names of all files under the fan-out directories, in order within each."""
    for directory in FAN_OUT:
        yield from sorted(os.listdir(root / directory))  # noqa: PTH208
