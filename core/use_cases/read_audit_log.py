"""Answer questions to the audit log: entries, the signed head, and proofs that it only ever grew."""

from __future__ import annotations

import base64
import json
from typing import Any

from sqlalchemy import Row

from core.audit.log import consistency_proof, inclusion_proof, leaf_hash
from core.domain.access import Caller, Scope
from core.domain.errors import EntryNotFound, Impossible
from core.persistence import audit
from core.use_cases.doors import Doors
from core.use_cases.issue_certificate import sign_head
from core.use_cases.keep_ledger import publish_checkpoint
from core.use_cases.wording import page, read_cursor


def read_entries(
    *, caller: Caller, doors: Doors, limit: int, cursor: str | None, filters: dict[str, Any]
) -> dict[str, Any]:
    """Return a page of the tenant's entries in order. Filters: action, actor, object, since, until."""
    caller.require(Scope.AUDIT_READ)
    after = read_cursor(cursor, of="entries", filters=filters, kind=int)
    with doors.database.transaction() as session:
        rows = audit.list_entries(session, caller.tenant_id, limit=limit + 1, after=after, **filters)
    return page([_describe(row) for row in rows], of="entries", limit=limit, key="index", filters=filters)


def read_checkpoint(*, caller: Caller, doors: Doors) -> str:
    """Return a signed checkpoint over everything that is in the log now (C2SP tlog-checkpoint)."""
    caller.require(Scope.AUDIT_READ)
    with doors.database.transaction() as session:
        audit.lock(session)
        newest = audit.latest_checkpoint(session)
        if newest is None or newest.size != audit.size(session):
            sign_head(session, doors)
            newest = audit.latest_checkpoint(session)
    publish_checkpoint(doors)
    return str(newest.note) if newest is not None else ""


def prove_inclusion(*, caller: Caller, doors: Doors, index: int, size: int | None) -> dict[str, Any]:
    """Return the path from an entry of the tenant to the root at `size` (default: now).

    Raises:
        EntryNotFound: the tenant has no such entry.
        Impossible: the log never had that size, or the entry came later.
    """
    caller.require(Scope.AUDIT_READ)
    with doors.database.transaction() as session:
        entry = audit.entry(session, caller.tenant_id, index)
        if entry is None:
            raise EntryNotFound
        now = audit.size(session)
        entries = now if size is None else size
        if not index < entries <= now:
            raise Impossible(f"the log has {now} entries; entry {index} is in no tree of {entries}")
        path = inclusion_proof(index, entries, audit.reader(session))
    leaf = leaf_hash(bytes(entry.body))
    return {"index": index, "size": entries, "leaf_hash": _text(leaf), "path": [_text(part) for part in path]}


def prove_consistency(*, caller: Caller, doors: Doors, old: int, new: int | None) -> dict[str, Any]:
    """Return the proof that the log at `new` (default: now) begins with the log at `old`.

    Raises:
        Impossible: the log never had those sizes.
    """
    caller.require(Scope.AUDIT_READ)
    with doors.database.transaction() as session:
        now = audit.size(session)
        entries = now if new is None else new
        if not 0 < old <= entries <= now:
            raise Impossible(f"the log has {now} entries; choose 0 < from ≤ to ≤ {now}")
        path = consistency_proof(old, entries, audit.reader(session))
    return {"from": old, "to": entries, "path": [_text(part) for part in path]}


def _describe(row: Row[Any]) -> dict[str, Any]:
    body = bytes(row.body)
    return {"index": row.index, "entry": json.loads(body), "bytes": _text(body), "leaf_hash": _text(leaf_hash(body))}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
