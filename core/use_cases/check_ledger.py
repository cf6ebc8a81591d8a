"""Hold the erasure ledger against the database: whatever was asked and destroyed must be in it, or a backup could undo it.

The database is looked at in a snapshot, and the ledger after that: a note is written before what it tells of is
committed, so it can only know more. What it knows alone is told as a warning: a request whose commit was cut off, or a
restored database that nothing was replayed into.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, select

from core.domain.errors import LedgerDamaged, LogForked
from core.persistence.requests import erasures, requests
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.keep_ledger import require_unforked
from core.use_cases.replay_ledger import read_ledger

ROWS_AT_ONCE = 1000
OLD_ENOUGH_SECONDS = 3600
"""A request whose commit takes longer never commits."""


def check_ledger(session: Connection, doors: Doors) -> Iterator[Finding]:
    """Yield what the ledger lacks, what cannot be read in it, and what only it knows."""
    known = set(_column(session, select(requests.c.id)))
    destroyed = set(_column(session, select(erasures.c.key_id).where(erasures.c.destroyed_at.is_not(None))))
    remembered = read_ledger(doors)
    yield from remembered.findings
    for name in sorted(known - {one.id for one in remembered.asked}):
        yield Finding(
            Severity.ERROR, "request_not_in_ledger", name, "a restored backup could make this service forget it"
        )
    for name in sorted(destroyed - {key for one in remembered.asked for key in one.keys}):
        yield Finding(
            Severity.ERROR,
            "erasure_not_in_ledger",
            name,
            "the key was destroyed, and a restored key store could bring it back",
        )
    for one in remembered.asked:
        if one.id not in known and one.received_at.timestamp() < time.time() - OLD_ENOUGH_SECONDS:
            yield Finding(
                Severity.WARNING,
                "request_only_in_ledger",
                one.id,
                "it was asked for, and the database does not know it; was a backup restored? See --after-restore",
            )
    yield from _head(doors)


def _head(doors: Doors) -> Iterator[Finding]:
    try:
        with doors.database.transaction() as session:  # not in the snapshot, which may be older than the ledger's head
            require_unforked(session, doors)
    except (LogForked, LedgerDamaged) as wrong:
        yield Finding(Severity.ERROR, wrong.code, "log", wrong.detail)


def _column(session: Connection, query: Select[Any]) -> Iterator[str]:
    with session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as rows:
        for row in rows:
            yield str(row[0])
