"""Whoever looks for all rows of somebody, and whoever is about to add rows or a model on them, take turns here.

Shared: accepting a deletion, registering a model. Exclusive, and as late and short as can be: committing a data set,
erasing rows. So a row is either seen by a deletion or refused because of it, and a model either gets a deletion's job
or finds the rows gone.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from core.persistence.round_trips import Question, later

SHARE = "SELECT pg_advisory_xact_lock_shared(hashtext(%(name)s)), clock_timestamp() AS now"


def share_ingest_lock(session: Connection, tenant_id: str) -> None:
    """Wait for those who change the rows, before the next thing that is asked; let others share."""
    later(session, *sharing_ingest_lock(tenant_id))


def sharing_ingest_lock(tenant_id: str) -> Question:
    """Do the same as a question, which is answered with the database's time, `now`."""
    return SHARE, {"name": f"ingest {tenant_id}"}


def take_ingest_lock(session: Connection, tenant_id: str) -> None:
    """Wait for everybody, until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"ingest {tenant_id}"})
