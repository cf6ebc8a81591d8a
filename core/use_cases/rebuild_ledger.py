"""Write an empty erasure ledger from what the database knows: at the first start with one, or after it was lost."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from core.audit.entry import Action
from core.domain.deletion import RequestState
from core.persistence import audit, requests
from core.persistence.database import unhurried
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import (
    note_asked,
    note_decision,
    note_keys_of_request,
    note_reconsent,
    publish_checkpoint,
)

ROWS_AT_ONCE = 1000


def rebuild_ledger(doors: Doors) -> int:
    """Write a note of every request, if the ledger has no head of the log yet; return how many were written.

    Raises:
        LedgerUnavailable: it cannot be written.
    """
    if doors.ledger.checkpoint() is not None:
        return 0
    written = 0
    with doors.database.transaction() as session:
        unhurried(session)
        for row in _everyone(session):
            _write(session, doors, row)
            written += 1
        for entry in audit.entries_of(session, Action.RECONSENT_RECORDED):
            note_reconsent(doors, entry.tenant_id, bytes.fromhex(entry.object), entry.at)
    # Last: a ledger with a head is whole, and one that was cut short before is written again.
    publish_checkpoint(doors)
    return written


def _everyone(session: Connection) -> list[Row[Any]]:
    return list(session.execute(select(requests.requests).order_by(requests.requests.c.id)))


def _write(session: Connection, doors: Doors, row: Row[Any]) -> None:
    note_asked(doors, row, requests.owners_of_request(session, row.id), requests.records_of_request(session, row.id))
    state = RequestState(row.state)
    if state in (RequestState.DENIED, RequestState.CANCELLED):
        note_decision(doors, row.id, state)
    elif state is not RequestState.PENDING_APPROVAL:
        note_decision(doors, row.id, RequestState.SCHEDULED)
    note_keys_of_request(doors, row, requests.destroyed_keys(session, row.id))
