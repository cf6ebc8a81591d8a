"""How values are written for readers: times in UTC with a Z, and pages of lists with an opaque cursor."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from core.domain.canonical import canonical
from core.domain.errors import CursorUnusable

MOST_PER_PAGE = 200
NO_FILTERS: Mapping[str, Any] = {}


def moment(value: datetime | None) -> str | None:
    """Return an RFC 3339 time in UTC, to the microsecond, with a Z."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def page(
    rows: Sequence[dict[str, Any]], *, of: str, limit: int, key: str = "id", filters: Mapping[str, Any] = NO_FILTERS
) -> dict[str, Any]:
    """Return a list's envelope.

    Args:
        rows: what to show, and one more when there is a next page.
        of: what is listed, such as `jobs`: a cursor fits no other list.
        limit: how many to show.
        key: the field that the rows are sorted by; no two have the same.
        filters: what was asked for, as it must be asked again for the next page.
    """
    shown, more = list(rows[:limit]), len(rows) > limit
    cursor = _write_cursor(shown[-1][key], of, filters) if more else None
    return {"object": "list", "data": shown, "has_more": more, "next_cursor": cursor}


def read_cursor(
    cursor: str | None, *, of: str, filters: Mapping[str, Any] = NO_FILTERS, kind: type[str | int] = str
) -> Any:
    """Return the sort key that the last page ended with; None for the first page.

    Raises:
        CursorUnusable: the cursor is broken, or belongs to another list or to one with other filters.
    """
    if cursor is None:
        return None
    try:
        position, digest = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise CursorUnusable from None
    if digest != _digest(of, filters) or type(position) is not kind:
        raise CursorUnusable
    return position


def _write_cursor(position: Any, of: str, filters: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, _digest(of, filters)]).encode()).decode()


def _digest(of: str, filters: Mapping[str, Any]) -> str:
    plain = {key: str(value) for key, value in filters.items() if value is not None}
    return hashlib.sha256(canonical([of, plain])).hexdigest()[:16]
