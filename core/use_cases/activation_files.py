"""Where activations lie on a worker's disk: `<cache>/<key of an owner's block>/<what and how>`, sealed. No torch.

A directory per block, so that a deletion removes all that was ever computed from it at once, on this machine. On other
machines its bytes have been noise since the key was destroyed, and the next sweep removes them.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from core.keys.store import KeyStore
from core.settings import Settings

FILLED_TO = 0.9
"""How full the cache may still be after room was made, so that it is not made again for the next file."""


class ActivationFiles:
    """A directory that never grows beyond its size; the oldest files go first."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.activations
        self.limit = settings.activation_cache_mebibytes << 20
        self._used: int | None = None

    def read(self, key_id: str, name: str) -> bytes | None:
        """Return a file's sealed bytes; None where there is none."""
        try:
            return (self.root / key_id / name).read_bytes()
        except OSError:
            return None

    def write(self, key_id: str, name: str, sealed: bytes) -> None:
        """Keep sealed bytes, unless the disk will not have them: a cache is no reason to fail."""
        if len(sealed) > self.limit * FILLED_TO:
            return
        try:
            if self.used() + len(sealed) > self.limit:
                self.make_room(int(self.limit * FILLED_TO) - len(sealed))
            directory = self.root / key_id
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = directory / f".{secrets.token_hex(8)}"
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(sealed)
            draft.replace(directory / name)
        except OSError:
            return
        self._used = self.used() + len(sealed)

    def used(self) -> int:
        """Return how many bytes there are, as far as this process knows."""
        if self._used is None:
            self._used = sum(size for _, size, _ in self._files())
        return self._used

    def make_room(self, left: int) -> None:
        """Remove the oldest files until at most `left` bytes are here."""
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used <= left:
                break
            Path(path).unlink(missing_ok=True)
            used -= size
        self._used = used

    def forget(self, key_ids: Iterable[str]) -> None:
        """Remove everything that was computed from these blocks."""
        for key_id in key_ids:
            shutil.rmtree(self.root / key_id, ignore_errors=True)

    def sweep(self, keys: KeyStore) -> int:
        """Remove what no key opens any more; return of how many blocks. Where the cache is off, nothing stays."""
        if not self.root.is_dir():
            return 0
        names = [path.name for path in self.root.iterdir() if path.is_dir()]
        dead = [name for name in names if not self.limit or not keys.exists(name)]
        self.forget(dead)
        return len(dead)

    def _files(self) -> Iterable[tuple[float, int, str]]:
        for directory in os.scandir(self.root) if self.root.is_dir() else ():
            try:
                for file in os.scandir(directory):
                    known = file.stat()
                    yield known.st_mtime, known.st_size, file.path
            except OSError:  # a deletion took it meanwhile
                continue
