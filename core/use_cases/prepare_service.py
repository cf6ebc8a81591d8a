"""Bring a deployment to the point where it can answer: schema, object store, tenant, keys, and on the very first start one API key."""

from __future__ import annotations

from core.domain.access import Scope
from core.domain.errors import LogForked, Unusable
from core.persistence import tenants
from core.persistence.database import migrate
from core.use_cases.create_api_key import add_api_key
from core.use_cases.doors import CERTIFICATE_KEY, DEFAULT_TENANT, LOG_KEY, PEPPER_KEY, Doors
from core.use_cases.keep_ledger import require_unforked
from core.use_cases.rebuild_ledger import rebuild_ledger


def prepare_service(doors: Doors) -> str | None:
    """Migrate and make what every deployment needs; return the admin's API key if this was the very first start.

    Raises:
        Unusable: the database's schema belongs to a newer release, its key store is missing, its object store does
            not keep and delete objects, or the database was restored and nothing was replayed into it.
    """
    migrate(doors.database)
    doors.store.prepare()
    with doors.database.transaction() as session:
        known = tenants.has_tenant(session, DEFAULT_TENANT)
    if known and not doors.keys.exists(f"tenant_{DEFAULT_TENANT}"):
        # A new key would turn every person into a stranger, and a deletion would find nothing to delete.
        raise Unusable("the database has a tenant whose key is not in the key store; restore the key store first")
    _refuse_restored(doors)
    rebuild_ledger(doors)
    for key_id in (f"tenant_{DEFAULT_TENANT}", LOG_KEY, CERTIFICATE_KEY, PEPPER_KEY):
        doors.keys.get_or_create(key_id)
    with doors.database.transaction() as session:
        if not tenants.ensure_tenant(session, DEFAULT_TENANT):
            return None
        return add_api_key(session, doors, tenant_id=DEFAULT_TENANT, name="admin", scopes=list(Scope)).secret


def _refuse_restored(doors: Doors) -> None:
    """Keep a database of yesterday from answering: it would serve whoever was deleted since."""
    try:
        with doors.database.transaction() as session:
            require_unforked(session, doors)
    except LogForked as fork:
        raise Unusable(f"{fork.detail}; see `lethe fsck --after-restore` in the runbook") from None
