"""Keys in a directory: one file per key, for this user's eyes only.

    <root>/<two digits of the id's digest>/<key id>     a key
    <root>/incoming/…                                   being written; no key yet (`core.durable_files`)
    <root>/doomed/<key id>.<chance>                     being destroyed; no key any more

A key is destroyed in three steps, each flushed before the next: it moves to `doomed/`, which takes its name away at
once; its bytes are overwritten; it is removed. A kill in between leaves a file in `doomed/`, which the next `destroy`
of any id, or the next opening of the store, finishes. Overwriting reaches the blocks themselves on file systems that
write in place; on others (copy on write, flash) keep the directory on an encrypted volume.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from core.domain.errors import Conflict, KeyDestroyed
from core.durable_files import list_names, open_directory, sync_directories, write_incoming

DOOMED = "doomed"
_KEY_ID = re.compile(r"[a-z0-9_]{3,64}")


class DirectoryKeyStore:
    """A key store on a local disk, safe for any number of processes at once."""

    def __init__(self, root: Path) -> None:
        """Open the store, making its directory when there is none, and finish what a killed process was destroying.

        Raises:
            Unusable: the directory cannot be made or written to.
        """
        open_directory(root, holds="Keys")
        self._root = root
        self._doomed = root / DOOMED
        self._doomed.mkdir(mode=0o700, exist_ok=True)
        sync_directories([root])
        self._finish_doomed()

    def put(self, key_id: str, key: bytes) -> None:
        self.put_many({key_id: key})

    def put_many(self, keys: Mapping[str, bytes]) -> None:
        if not all(keys.values()):
            raise ValueError("a key must have at least one byte")
        paths = {self._path(key_id): key for key_id, key in keys.items()}
        try:
            for path, key in paths.items():
                if self._link(path, key) != key:
                    raise Conflict("another key is kept under this id, and a key is never replaced")
        finally:
            sync_directories(path.parent for path in paths)

    def get(self, key_id: str) -> bytes:
        try:
            return _read(f"{self._root}/{_place(key_id)}")  # as text: every request reads keys
        except FileNotFoundError:
            raise KeyDestroyed from None

    def get_or_create(self, key_id: str, size: int = 32) -> bytes:
        path = self._path(key_id)
        try:
            return _read(path)
        except FileNotFoundError:
            key = self._link(path, secrets.token_bytes(size))
        # Whoever lost the race flushes too: the winner may be killed before it does.
        sync_directories([path.parent])
        return key

    def destroy(self, key_ids: Iterable[str]) -> None:
        for path in [self._path(key_id) for key_id in key_ids]:
            try:
                # A name of its own for each, as a key may be made and destroyed again under the same id meanwhile.
                path.rename(self._doomed / f"{path.name}.{secrets.token_hex(8)}")
            except FileNotFoundError:
                continue
        self._finish_doomed()

    def exists(self, key_id: str) -> bool:
        return self._path(key_id).is_file()

    def list_ids(self, prefix: str = "") -> Iterator[str]:
        return (name for name in list_names(self._root) if name.startswith(prefix) and _KEY_ID.fullmatch(name))

    def _path(self, key_id: str) -> Path:
        return self._root / _place(key_id)

    def _link(self, path: Path, key: bytes) -> bytes:
        """Give a new key this name unless a key has it; return the key that has it now."""
        incoming = write_incoming(self._root, key)
        try:
            while True:
                try:
                    path.hardlink_to(incoming)  # unlike a rename, it never replaces what is there
                except FileExistsError:
                    try:
                        return _read(path)
                    except FileNotFoundError:  # destroyed between the two: try again
                        continue
                return key
        finally:
            incoming.unlink(missing_ok=True)

    def _finish_doomed(self) -> None:
        """Overwrite and remove all that lies in `doomed/`, whoever put it there."""
        doomed = list(self._doomed.iterdir())
        # The old names must be gone for good first: after a power cut, one that came back would give a key of zeros.
        sync_directories([self._doomed, *(self._path(path.name.partition(".")[0]).parent for path in doomed)])
        for path in doomed:
            try:
                _overwrite(path)
                path.unlink()
            except FileNotFoundError:  # another process was quicker
                continue
        if doomed:
            sync_directories([self._doomed])


def _place(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError("a key id is 3 to 64 lower-case letters, digits and underscores")
    return f"{hashlib.sha256(key_id.encode()).hexdigest()[:2]}/{key_id}"


def _read(path: str | Path) -> bytes:
    """Return a file's bytes, or raise FileNotFoundError even if it loses its name only while it is read."""
    handle = os.open(path, os.O_RDONLY)
    try:
        opened = os.fstat(handle)
        key = os.read(handle, opened.st_size + 1)
        # Bytes are overwritten only after the name is gone: a name that is still there vouches for what was read.
        if os.stat(path).st_ino != opened.st_ino:  # noqa: PTH116 - every request reads keys
            raise FileNotFoundError
    finally:
        os.close(handle)
    return key


def _overwrite(path: Path) -> None:
    """Replace a file's bytes in place by as many zeros, and flush them to the disk."""
    with path.open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
