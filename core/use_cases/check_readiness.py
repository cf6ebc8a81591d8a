"""Can this process do its work? Asks the database, the schema and both stores, and names whatever does not answer."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import OperationalError

from core.domain.errors import KeyDestroyed, Unavailable
from core.persistence.database import schema_heads
from core.use_cases.doors import LOG_KEY, Doors


def check_readiness(doors: Doors) -> dict[str, Any]:
    """Return what was checked.

    Raises:
        Unavailable: something does not answer; the sentence names it.
    """
    try:
        current, head = schema_heads(doors.database)
    except OperationalError:
        raise Unavailable("the database does not answer") from None
    if current != head:
        raise Unavailable("the database's schema is not this release's; run `lethe migrate up`")
    try:
        doors.keys.get(LOG_KEY)
        next(iter(doors.store.list_digests()), None)
    except (KeyDestroyed, OSError):
        raise Unavailable("the key store or the object store does not answer") from None
    return {"status": "ready", "schema": current}
