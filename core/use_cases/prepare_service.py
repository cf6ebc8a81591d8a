"""Bring a deployment to the point where it can answer: schema, tenant, keys, and on the very first start one API key."""

from __future__ import annotations

from core.domain.access import Scope
from core.domain.errors import Unusable
from core.persistence import tenants
from core.persistence.database import migrate
from core.use_cases.create_api_key import add_api_key
from core.use_cases.doors import CERTIFICATE_KEY, DEFAULT_TENANT, LOG_KEY, PEPPER_KEY, Doors


def prepare_service(doors: Doors) -> str | None:
    """Migrate and make what every deployment needs; return the admin's API key if this was the very first start.

    Raises:
        Unusable: the database's schema belongs to a newer release, or its key store is missing.
    """
    migrate(doors.database)
    with doors.database.transaction() as session:
        known = tenants.has_tenant(session, DEFAULT_TENANT)
    if known and not doors.keys.exists(f"tenant_{DEFAULT_TENANT}"):
        # A new key would turn every person into a stranger, and a deletion would find nothing to delete.
        raise Unusable("the database has a tenant whose key is not in the key store; restore the key store first")
    for key_id in (f"tenant_{DEFAULT_TENANT}", LOG_KEY, CERTIFICATE_KEY, PEPPER_KEY):
        doors.keys.get_or_create(key_id)
    with doors.database.transaction() as session:
        if not tenants.ensure_tenant(session, DEFAULT_TENANT):
            return None
        return add_api_key(session, doors, tenant_id=DEFAULT_TENANT, name="admin", scopes=list(Scope)).secret
