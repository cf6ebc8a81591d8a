"""Callers whom this process has authenticated lately, so that a key is not looked up anew for every request.

Who is remembered is presumed to be allowed in, no more: what acts for a presumed caller asks the database in its own
transaction whether the key is still valid (`answer_once`). So a key that is revoked ends at once, and a request saves
a round trip and a change of threads. Keys are remembered by their digest, refusals not at all.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

from core.domain.access import Caller

REMEMBERED_SECONDS = 30.0
"""After that the key is looked up again, which also notes that it was used."""
MOST = 1000


class Acquaintances:
    """Callers by the digest of their key, each for a while."""

    def __init__(self, seconds: float = REMEMBERED_SECONDS) -> None:
        self._seconds = seconds
        self._known: dict[bytes, tuple[Caller, float]] = {}

    def recall(self, text: str) -> Caller | None:
        """Return whom the key stood for a while ago."""
        caller, since = self._known.get(_digest(text), (None, 0.0))
        return caller if time.monotonic() - since <= self._seconds else None

    def remember(self, text: str, caller: Caller) -> None:
        """Remember who was authenticated just now."""
        now = time.monotonic()
        if len(self._known) >= MOST:
            self._known = {one: known for one, known in self._known.items() if now - known[1] <= self._seconds}
        if len(self._known) < MOST:
            self._known[_digest(text)] = replace(caller, presumed=True), now


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
