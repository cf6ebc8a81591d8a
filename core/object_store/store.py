"""The door to the object store: whoever has an object's digest may read it, and nobody can change it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol


class ObjectStore(Protocol):
    """Objects by the hex SHA-256 digest of their bytes. A method given anything else as a digest raises ValueError.

    A store on the network tries again for a while by itself; any method may then raise StoreUnavailable.
    """

    def prepare(self) -> None:
        """Make what the store needs, and find out whether objects can be kept and deleted.

        Raises:
            Unusable: they cannot.
        """
        ...

    def ping(self) -> None:
        """Return if the store answers now; it is asked once.

        Raises:
            StoreUnavailable: it does not.
        """
        ...

    def put(self, content: bytes) -> str:
        """Keep the bytes and return their digest; on return they outlast a power cut. Twice is as good as once."""
        ...

    def get(self, digest: str) -> bytes:
        """Return the whole object.

        Raises:
            ObjectMissing: it is not here.
            SealBroken: what lies here has another digest.
        """
        ...

    def get_range(self, digest: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`. A part has no digest to check: seal what must be trusted.

        Raises:
            ObjectMissing: it is not here.
            SealBroken: the object ends before the range does.
            ValueError: offset or length is negative.
        """
        ...

    def exists(self, digest: str) -> bool: ...

    def written_at(self, digest: str) -> datetime | None:
        """Return when the object was put last, in UTC, by the clock of whoever keeps it; None when it is not here."""
        ...

    def delete(self, digest: str) -> None:
        """Remove the object and every older version of it; one that is not here is as good as removed.

        Raises:
            ObjectNotDeleted: it is still here, although the store said otherwise.
        """
        ...

    def list_digests(self) -> Iterator[str]:
        """Yield the digest of every object, in order; a store on the network is asked for a page at a time."""
        ...
