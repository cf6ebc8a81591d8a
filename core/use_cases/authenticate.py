"""Find out who calls."""

from __future__ import annotations

import hmac

from core.domain.access import Caller
from core.domain.errors import Unauthenticated
from core.persistence import tenants
from core.use_cases.create_api_key import parts, secret_digest
from core.use_cases.doors import Doors


def authenticate(doors: Doors, text: str | None) -> Caller:
    """Return the caller that an API key stands for.

    Raises:
        Unauthenticated: there is no key, or it is unknown, expired or revoked.
    """
    known = parts(text or "")
    if known is None:
        raise Unauthenticated
    key_id, secret = known
    with doors.database.glance() as session:
        row = tenants.find_api_key(session, key_id)
    if row is None or not hmac.compare_digest(row.secret_digest, secret_digest(doors, secret)):
        raise Unauthenticated
    if row.stale:
        with doors.database.transaction() as session:
            tenants.touch_api_key(session, key_id)
    return Caller(tenant_id=row.tenant_id, key_id=key_id, scopes=frozenset(row.scopes))
