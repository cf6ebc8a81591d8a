"""Tenants, their API keys, and the answers kept for retries (Idempotency-Key)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from core.audit.entry import Action
from core.persistence import audit
from core.persistence.round_trips import Question, ask, later, together
from core.persistence.tables import json_column, metadata, page_of, tenant_column, time_column

tenants = Table("tenants", metadata, Column("tenant_id", Text, primary_key=True), time_column("created_at"))

api_keys = Table(
    "api_keys",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_digest", LargeBinary(32), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    time_column("created_at"),
    time_column("expires_at", nullable=True),
    time_column("revoked_at", nullable=True),
    time_column("last_used_at", nullable=True),
    Index("api_keys_tenant", "tenant_id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer, nullable=True),
    json_column("body", nullable=True),
    time_column("created_at"),
)

VALID_KEY = """
    SELECT *, coalesce(last_used_at < clock_timestamp() - interval '1 minute', true) AS stale FROM api_keys
    WHERE id = %(id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"""
_SAME_KEY = "tenant_id = %(tenant_id)s AND client_id = %(client_id)s AND route = %(route)s AND key = %(key)s"
CLAIM_KEY = """
    INSERT INTO idempotency_keys (tenant_id, client_id, route, key, fingerprint)
    VALUES (%(tenant_id)s, %(client_id)s, %(route)s, %(key)s, %(fingerprint)s)
    ON CONFLICT DO NOTHING RETURNING true"""
KEPT_ANSWER = f"SELECT * FROM idempotency_keys WHERE {_SAME_KEY}"  # noqa: S608 - of constants
KEEP_ANSWER = f"UPDATE idempotency_keys SET status = %(status)s, body = %(body)s WHERE {_SAME_KEY}"  # noqa: S608


def has_tenant(session: Connection, tenant_id: str) -> bool:
    return session.execute(select(tenants.c.tenant_id).where(tenants.c.tenant_id == tenant_id)).first() is not None


def ensure_tenant(session: Connection, tenant_id: str) -> bool:
    """Return True when the tenant was new."""
    done = session.execute(insert(tenants).values(tenant_id=tenant_id).on_conflict_do_nothing())
    if done.rowcount == 1:
        audit.note(session, Action.TENANT_CREATED, tenant=tenant_id, object=tenant_id)
    return done.rowcount == 1


def add_api_key(session: Connection, **values: Any) -> None:
    session.execute(insert(api_keys).values(**values))
    audit.note(session, Action.KEY_CREATED, tenant=values["tenant_id"], object=values["id"], scope=values["scopes"])


def find_api_key(session: Connection, key_id: str) -> Row[Any] | None:
    """Return the key if it is neither revoked nor expired, and whether its last use was noted more than a minute ago."""
    found = ask(session, VALID_KEY, id=key_id)
    return found[0] if found else None


def page_of_api_keys(session: Connection, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    """Return keys, newest first; `before` is the id that the last page ended with."""
    return page_of(session, api_keys, tenant_id, limit=limit, before=before)


def revoke_api_key(session: Connection, tenant_id: str, key_id: str) -> bool:
    done = session.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
    if done.rowcount == 1:
        audit.note(session, Action.KEY_REVOKED, tenant=tenant_id, object=key_id)
    return done.rowcount == 1


def touch_api_key(session: Connection, key_id: str) -> None:
    """Note that the key was used; asked for at most once a minute, so that reading does not become writing."""
    session.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=func.clock_timestamp()))


def a_minute_ago() -> ColumnElement[Any]:
    return func.clock_timestamp() - timedelta(minutes=1)


def still_valid(key_id: str) -> Question:
    """Ask for a key; there is no row of one that is revoked or expired."""
    return VALID_KEY, {"id": key_id}


def claim_idempotency_key(session: Connection, *others: Question, **values: Any) -> tuple[Row[Any] | None, list[Any]]:
    """Return None when the key is ours now, or the row of whoever had it first; and what `others` were answered.

    A second transaction with the same key waits here until the first one has committed or rolled back. The other
    questions travel with the claim, and are asked behind it, whether or not the key is ours.
    """
    claimed, *answers = together(session, (CLAIM_KEY, values), *others)
    if claimed:
        return None, answers
    first: list[Row[Any]] = ask(session, KEPT_ANSWER, **values)
    return first[0], answers


def keep_answer(session: Connection, *, status: int, body: dict[str, Any], **key: str) -> None:
    """Have the answer kept, for whoever comes with the key again."""
    later(session, KEEP_ANSWER, {"status": status, "body": json.dumps(body), **key})
