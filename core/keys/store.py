"""The door to the key store. It is never in the database and never in the database's backups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol


class KeyStore(Protocol):
    """Keys by id. An id matches ^[a-z0-9_]{3,64}$, and a method given another raises ValueError.

    A key is never changed, only put and destroyed. On return from any method its effect outlasts a power cut.
    """

    def put(self, key_id: str, key: bytes) -> None:
        """Keep a key; the same key twice is as good as once.

        Raises:
            Conflict: another key has this id: replacing it would destroy what it sealed.
        """
        ...

    def put_many(self, keys: Mapping[str, bytes]) -> None:
        """Keep many keys, at a fraction of the cost of one by one.

        A kill, or a Conflict, in the middle leaves some of them kept and the others not, each whole.

        Raises:
            Conflict: another key has one of these ids.
        """
        ...

    def get(self, key_id: str) -> bytes:
        """Return a key.

        Raises:
            KeyDestroyed: it was destroyed, or never here; the two cannot be told apart.
        """
        ...

    def get_or_create(self, key_id: str, size: int = 32) -> bytes:
        """Return a key, made of `size` random bytes if there is none; of callers who race, all get the same."""
        ...

    def destroy(self, key_ids: Iterable[str]) -> None:
        """Destroy keys for good; those that are not here are as good as destroyed."""
        ...

    def exists(self, key_id: str) -> bool: ...

    def list_ids(self, prefix: str = "") -> Iterator[str]:
        """Yield the ids that begin with the prefix, in no particular order."""
        ...
