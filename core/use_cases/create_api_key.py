"""Make an API key: shown once, kept only as a keyed digest, with a checksum that lets scanners recognise a leaked one."""

from __future__ import annotations

import hmac
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from core.audit.entry import Actor
from core.domain.access import Scope
from core.domain.errors import ApiKeyNotFound, Impossible
from core.domain.identifiers import new_identifier
from core.persistence import tenants
from core.use_cases.doors import PEPPER_KEY, Doors

DEFAULT_DAYS = 365


@dataclass(frozen=True)
class NewApiKey:
    """An API key at the only moment when its secret is known."""

    id: str
    secret: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


def create_api_key(  # noqa: PLR0913
    doors: Doors, *, tenant_id: str, name: str, scopes: Sequence[str], actor: Actor, days: int = DEFAULT_DAYS
) -> NewApiKey:
    """Make a key that expires after `days`.

    Raises:
        Impossible: a scope does not exist.
    """
    unknown = set(scopes) - set(Scope)
    if unknown or not scopes:
        raise Impossible(f"choose scopes among: {', '.join(Scope)}")
    with doors.database.transaction(actor) as session:
        return add_api_key(session, doors, tenant_id=tenant_id, name=name, scopes=scopes, days=days)


def add_api_key(  # noqa: PLR0913
    session: Connection,
    doors: Doors,
    *,
    tenant_id: str,
    name: str,
    scopes: Sequence[str],
    days: int | None = None,
) -> NewApiKey:
    """Make a key inside somebody's transaction; it never expires when `days` is None."""
    key_id = new_identifier("ak")
    secret = secrets.token_hex(24)
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    tenants.add_api_key(
        session,
        tenant_id=tenant_id,
        id=key_id,
        name=name,
        secret_digest=secret_digest(doors, secret),
        scopes=list(scopes),
        expires_at=expires,
    )
    return NewApiKey(id=key_id, secret=written(key_id, secret), scopes=tuple(scopes), expires_at=expires)


def revoke_api_key(doors: Doors, *, tenant_id: str, key_id: str, actor: Actor) -> None:
    """End a key at once.

    Raises:
        ApiKeyNotFound: the tenant has no such key that is not revoked already.
    """
    with doors.database.transaction(actor) as session:
        if not tenants.revoke_api_key(session, tenant_id, key_id):
            raise ApiKeyNotFound


def secret_digest(doors: Doors, secret: str) -> bytes:
    """Return what is stored. The secret is random, so a fast keyed digest is as strong as a slow one."""
    return hmac.digest(doors.keys.get(PEPPER_KEY), secret.encode(), "sha256")


def written(key_id: str, secret: str) -> str:
    """Return the key as its holder keeps it: lethe_<id>_<secret><checksum>."""
    body = f"lethe_{key_id.removeprefix('ak_')}_{secret}"
    return f"{body}{zlib.crc32(body.encode()):08x}"


def parts(text: str) -> tuple[str, str] | None:
    """Return (key id, secret) of a written key, or None when it is none."""
    body, checksum = text[:-8], text[-8:]
    pieces = body.split("_")
    if len(pieces) != 3 or pieces[0] != "lethe" or f"{zlib.crc32(body.encode()):08x}" != checksum:  # noqa: PLR2004
        return None
    return f"ak_{pieces[1]}", pieces[2]
