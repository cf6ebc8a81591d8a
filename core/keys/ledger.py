"""The erasure ledger: who was to be forgotten, and which keys were destroyed for it, kept where no database backup reaches.

    <root>/<two digits of the id's digest>/<id>.<kind>   a note: never changed once it is there
    <root>/checkpoint                                    the newest signed head of the audit log
    <root>/retired/<number>                              the last head of a log that a restored database broke off

A restored database and bucket are of yesterday, and would bring back whoever was deleted since. The ledger lies with the
key store, apart from both, so that `lethe fsck --after-restore` can ask for everything again. A note holds references
and identifiers only, as canonical JSON beside its digest, so that damage is noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.audit.encoding import read_canonical
from core.domain.canonical import canonical
from core.domain.errors import LedgerDamaged, LedgerUnavailable, LogForked
from core.durable_files import INCOMING, list_names, open_directory, sync_directories, sync_directory, write_incoming

CHECKPOINT, RETIRED, LOCK = "checkpoint", "retired", "lock"
_NAME = re.compile(r"[a-z]{2,4}_[a-z0-9]+(\.[a-z0-9_]+)+")


class DirectoryLedger:
    """A ledger on a local disk, safe for any number of processes at once. Opening it is `open_ledger`'s."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, note: Mapping[str, Any]) -> None:
        """Keep a note; on return it outlasts a power cut. Writing it again replaces it by itself.

        Raises:
            LedgerUnavailable: the disk is full, or the directory cannot be written.
        """
        path, content = str(self._path(name)), _sealed(note)
        incoming = f"{self._root}/{INCOMING}/{secrets.token_hex(16)}"
        try:
            handle = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                if os.write(handle, content) != len(content):
                    raise LedgerUnavailable
                # The name first, then both flushed: one round of the disk's journal instead of two. Half a note after
                # a power cut is of somebody who was never told that we took it, and its digest tells.
                os.replace(incoming, path)  # noqa: PTH105 - a note for every request: paths are not taken apart again
                os.fsync(handle)
            finally:
                os.close(handle)
            sync_directory(os.path.dirname(path))  # noqa: PTH120
        except OSError:
            raise LedgerUnavailable from None

    def read(self, name: str) -> dict[str, Any]:
        """Return a note.

        Raises:
            LedgerDamaged: it is not as it was written.
        """
        return _opened(self._path(name))

    def names(self) -> Iterator[str]:
        """Yield the names of all notes, in no particular order."""
        return (name for name in list_names(self._root) if _NAME.fullmatch(name))

    def checkpoint(self) -> dict[str, Any] | None:
        """Return origin, size, root and note of the newest head of the log; None before the first one.

        Raises:
            LedgerDamaged: it is not as it was written.
        """
        path = self._root / CHECKPOINT
        return _opened(path) if path.exists() else None

    def keep_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep a newer head of the same log; an older one is passed over.

        Raises:
            LogForked: it is of another log than the one that is kept.
            LedgerDamaged: the one that is kept cannot be read.
            LedgerUnavailable: it cannot be written.
        """
        with self._locked():
            present = self.checkpoint()
            if present is not None and present["origin"] != checkpoint["origin"]:
                raise LogForked
            if present is None or present["size"] < checkpoint["size"]:
                self._replace(self._root / CHECKPOINT, checkpoint)

    def retire_checkpoint(self, successor: Mapping[str, Any]) -> None:
        """Put the head of a log that broke off aside for good, and begin with the first head of its successor.

        Raises:
            LedgerUnavailable: it cannot be written.
        """
        with self._locked():
            present = self.checkpoint()
            if present is not None and present["origin"] != successor["origin"]:
                self._replace(self._root / RETIRED / str(len(self.retired())), present)
            self._replace(self._root / CHECKPOINT, successor)

    def retired(self) -> list[dict[str, Any]]:
        """Return the last heads of the logs that broke off, oldest first."""
        return [_opened(path) for path in sorted((self._root / RETIRED).iterdir(), key=lambda path: int(path.name))]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("a note's name is an identifier and words after dots")
        return self._root / hashlib.sha256(name.partition(".")[0].encode()).hexdigest()[:2] / name

    def _replace(self, path: Path, content: Mapping[str, Any]) -> None:
        try:
            write_incoming(self._root, _sealed(content)).replace(path)
            sync_directories([path.parent])
        except OSError:
            raise LedgerUnavailable from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = (self._root / LOCK).open("a")
        except OSError:
            raise LedgerUnavailable from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_ledger(root: Path) -> DirectoryLedger:
    """Make the ledger's directories when there are none.

    Raises:
        Unusable: they cannot be made or written to.
    """
    open_directory(root, holds="The erasure ledger's notes")
    (root / RETIRED).mkdir(mode=0o700, exist_ok=True)
    sync_directories([root])
    return DirectoryLedger(root)


def _sealed(body: Mapping[str, Any]) -> bytes:
    written = canonical(body)  # and with it the whole, whose only keys are these two, in this order
    return b'{"body":' + written + b',"sha256":"' + hashlib.sha256(written).hexdigest().encode() + b'"}'


def _opened(path: Path) -> dict[str, Any]:
    try:
        found = read_canonical(path.read_bytes())
        body: dict[str, Any] = found["body"]
        digest = found["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        raise LedgerDamaged(f"the note {path.name} of the erasure ledger cannot be read") from None
    if hashlib.sha256(canonical(body)).hexdigest() != digest:
        raise LedgerDamaged(f"the note {path.name} of the erasure ledger is not as it was written")
    return body
