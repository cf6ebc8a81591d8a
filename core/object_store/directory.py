"""Objects in a directory: `<first two digits of the digest>/<digest>`, each written whole or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.domain.errors import ObjectMissing, SealBroken, StoreUnavailable
from core.durable_files import list_names, open_directory, sync_directories, write_incoming

_DIGEST = re.compile(r"[0-9a-f]{64}")


class DirectoryObjectStore:
    """An object store on a local disk, safe for any number of processes at once."""

    def __init__(self, root: Path) -> None:
        """Open the store, making its directory when there is none.

        Raises:
            Unusable: the directory cannot be made or written to.
        """
        open_directory(root, holds="Objects")
        self._root = root

    def prepare(self) -> None:
        open_directory(self._root, holds="Objects")

    def ping(self) -> None:
        try:
            next(self.list_digests(), None)
        except OSError as error:
            raise StoreUnavailable(f"the object directory cannot be read ({type(error).__name__})") from None

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        # Even an object that is here already is written again: the one that lies here may be damaged.
        write_incoming(self._root, content).replace(path)
        sync_directories([path.parent])
        return digest

    def get(self, digest: str) -> bytes:
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"the object store does not hold object {digest}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise SealBroken(f"object {digest} was altered where it is stored")
        return content

    def get_range(self, digest: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError(f"offset and length must be >= 0, got {offset=} {length=}")
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                content = file.read(length)
        except FileNotFoundError:
            raise ObjectMissing(f"the object store does not hold object {digest}") from None
        if len(content) != length:
            raise SealBroken(f"object {digest} ends before byte {offset + length}")
        return content

    def exists(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def written_at(self, digest: str) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._path(digest).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def delete(self, digest: str) -> None:
        path = self._path(digest)
        path.unlink(missing_ok=True)
        sync_directories([path.parent])

    def list_digests(self) -> Iterator[str]:
        return (name for name in list_names(self._root) if _DIGEST.fullmatch(name))

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest is 64 hexadecimal digits in lower case")
        return self._root / digest[:2] / digest
