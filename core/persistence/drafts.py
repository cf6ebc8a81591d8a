"""Names of block keys that are about to exist: written before the keys are, dropped when the blocks are committed.

Without them, a kill between sealing rows and committing their block would leave a readable copy that nobody knows of,
and that no deletion reaches.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ARRAY, Column, Connection, Row, Table, Text, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from core.persistence.tables import metadata, tenant_column, time_column

PATIENCE = timedelta(hours=1)
"""No upload takes longer between sealing and committing."""

key_drafts = Table(
    "key_drafts",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("key_ids", ARRAY(Text), nullable=False),
    time_column("created_at"),
)


def add_draft(session: Connection, *, tenant_id: str, draft_id: str, key_ids: list[str]) -> None:
    session.execute(insert(key_drafts).values(tenant_id=tenant_id, id=draft_id, key_ids=key_ids))


def drop_draft(session: Connection, draft_id: str) -> None:
    session.execute(delete(key_drafts).where(key_drafts.c.id == draft_id))


def find_draft(session: Connection, draft_id: str) -> Row[Any] | None:
    return session.execute(select(key_drafts).where(key_drafts.c.id == draft_id)).first()


def abandoned_drafts(session: Connection) -> list[Row[Any]]:
    query = select(key_drafts).where(key_drafts.c.created_at < func.clock_timestamp() - PATIENCE)
    return list(session.execute(query))
