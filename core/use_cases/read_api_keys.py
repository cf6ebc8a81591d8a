"""Show API keys: names, scopes and dates. Secrets are not known any more."""

from __future__ import annotations

from typing import Any

from core.persistence import tenants
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_api_keys(doors: Doors, tenant_id: str, *, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of a tenant's keys, newest first, also those revoked and expired."""
    before = read_cursor(cursor, of="api_keys")
    with doors.database.transaction() as session:
        rows = tenants.page_of_api_keys(session, tenant_id, limit=limit + 1, before=before)
    shown = [
        {
            "id": row.id,
            "object": "api_key",
            "name": row.name,
            "scopes": row.scopes,
            "created_at": moment(row.created_at),
            "expires_at": moment(row.expires_at),
            "revoked_at": moment(row.revoked_at),
            "last_used_at": moment(row.last_used_at),
        }
        for row in rows
    ]
    return page(shown, of="api_keys", limit=limit)
