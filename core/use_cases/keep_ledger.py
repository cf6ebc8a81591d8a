"""Write into the erasure ledger what must outlive the database: what was asked, decided, destroyed, and the log's head.

    asked      before the request is committed: a note without a request is harmless, a request without a note is not
    keys       before they are destroyed, as destroying twice does no harm
    approved   after its commit, as is everything that lets a person stay: cancelled, denied, consented anew. A note that
               came too early could keep a restored database from deleting somebody
    the head   after its commit: the log may break off before one that was only tried

`replay_ledger` reads it all back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from core.audit.checkpoint import read_text
from core.audit.encoding import timestamp
from core.audit.entry import Action, read_entry
from core.audit.errors import EvidenceInvalid
from core.domain.deletion import RequestState
from core.domain.errors import LedgerDamaged, LedgerUnavailable, LogForked
from core.persistence import audit
from core.use_cases.doors import Doors

log = structlog.get_logger()
_PLAIN = re.compile(r"(?!hex:)[A-Za-z0-9_.:+/-]{1,200}")
NOTED_STATES = {RequestState.SCHEDULED: "approved", RequestState.DENIED: "denied", RequestState.CANCELLED: "cancelled"}


def note_asked(doors: Doors, request: Row[Any], owners: Iterable[bytes], records: Sequence[Row[Any]]) -> None:
    """Note a request, its row still uncommitted, with everything that making it again takes.

    Raises:
        LedgerUnavailable: it could not be written; the request must not be accepted.
    """
    references: dict[str, list[str]] = {}
    for row in records:
        references.setdefault(row.dataset_id, []).append(bytes(row.record).hex())
    note = {
        "request": request.id,
        "tenant": request.tenant_id,
        "created_by": request.created_by,
        "regulation": request.regulation,
        "received_at": timestamp(request.received_at),
        "owners": sorted(owner.hex() for owner in owners),
        "records": references,
        "models": request.scope_models,
        "copies": request.copies_policy,
        "kind": request.kind,
        "unlearning": request.unlearning,
    }
    doors.ledger.write(f"{request.id}.asked", note)


def note_keys(doors: Doors, job: Row[Any], ordered: Sequence[Row[Any]]) -> None:
    """Note which keys this job is about to destroy."""
    _note_keys(doors, job.request_id, job.tenant_id, f"{job.id}.{job.fence}", [row.key_id for row in ordered])


def note_keys_of_request(doors: Doors, request: Row[Any], keys: Sequence[str]) -> None:
    """Note all keys that were destroyed for a request."""
    _note_keys(doors, request.id, request.tenant_id, "all", keys)


def _note_keys(doors: Doors, request_id: str, tenant: str, occasion: str, keys: Sequence[str]) -> None:
    if keys:
        doors.ledger.write(
            f"{request_id}.keys.{occasion}", {"request": request_id, "tenant": tenant, "keys": list(keys)}
        )


def note_decision(doors: Doors, request_id: str, state: RequestState) -> None:
    """Note that a committed request was approved, denied or cancelled; other states are not decisions."""
    word = NOTED_STATES.get(state)
    if word is not None:
        doors.ledger.write(f"{request_id}.{word}", {"request": request_id})


def note_reconsent(doors: Doors, tenant_id: str, owner: bytes, at: datetime) -> None:
    """Note that an owner consented anew; the name follows from the note, so a repeat is the same one."""
    note = {"tenant": tenant_id, "owner": owner.hex(), "at": timestamp(at)}
    chance = hashlib.sha256(repr(sorted(note.items())).encode()).hexdigest()[:26]
    doors.ledger.write(f"rcs_{chance}.reconsent", note)


def publish_checkpoint(doors: Doors) -> None:
    """Put the newest committed head of the log into the ledger. What fails is told, and done with the next head."""
    with doors.database.transaction() as session:
        newest = audit.latest_checkpoint(session)
    if newest is None:
        return
    try:
        doors.ledger.keep_checkpoint(as_note(newest.note))
    except (LogForked, LedgerDamaged, LedgerUnavailable) as error:
        log.error("ledger.trouble", kind=type(error).__name__)


def as_note(checkpoint: str) -> dict[str, Any]:
    """Return what the ledger keeps of a signed checkpoint of ours."""
    said = read_text(checkpoint)
    return {"origin": said.origin, "size": said.size, "root": said.root.hex(), "note": checkpoint}


def require_unforked(session: Connection, doors: Doors) -> None:
    """Pass if the log in the database continues the newest head that the ledger keeps, under the same name.

    Raises:
        LogForked: it does not, so signing it would give the log two histories.
        LedgerDamaged: that head cannot be read.
    """
    kept = doors.ledger.checkpoint()
    if kept is None:
        return
    if kept["origin"] != doors.settings.log_origin:
        raise LogForked("LETHE_LOG_ORIGIN is not the name under which the audit log was signed last")
    _require_head(session, kept)


def refuse_restored(session: Connection, doors: Doors) -> None:
    """Pass if the database is not older than the ledger; for those who serve from it and sign nothing.

    Raises:
        LogForked: it is, and would serve whoever was deleted since; see `replay_ledger`.
    """
    try:
        kept = doors.ledger.checkpoint()
    except LedgerDamaged as damage:
        log.error("ledger.trouble", kind=type(damage).__name__)
        return  # who writes must stop; who answers knows of nothing that is wrong with the answers
    if kept is not None:
        _require_head(session, kept)


def _require_head(session: Connection, kept: Mapping[str, Any]) -> None:
    if not audit.has_checkpoint(session, entries=kept["size"], note=kept["note"]):
        raise LogForked


def broken_origins(session: Connection) -> list[str]:
    """Return the names under which the log was signed before restored databases broke it off, oldest first."""
    found = []
    for entry in audit.entries_of(session, Action.SERVICE_RESTORED):
        try:
            found.append(_read_origin(str(read_entry(bytes(entry.body))["refs"]["origin"])))
        except (EvidenceInvalid, KeyError, ValueError):
            continue  # an entry that was tampered with names nobody
    return found


def plain_origin(origin: str) -> str:
    """Return a log's name as an entry may hold it: in hex where it is more than letters, digits and a few signs."""
    return origin if _PLAIN.fullmatch(origin) else f"hex:{origin.encode().hex()}"


def _read_origin(written: str) -> str:
    return bytes.fromhex(written.removeprefix("hex:")).decode() if written.startswith("hex:") else written
