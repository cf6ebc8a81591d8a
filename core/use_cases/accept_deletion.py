"""Take a deletion request in: resolve it, suppress the owners, write request, jobs and log entry in one commit.

The erasure ledger hears of it first, so that no restored database can make us forget that we were asked. The receipt
that goes back counts what was found. Nothing is trained and nothing is switched off here; the jobs that do
that are rung for by the commit itself.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.deletion import RequestEvent, RequestState, WaitReason
from core.domain.errors import Conflict
from core.domain.identifiers import new_identifier
from core.domain.job import JobKind
from core.faults import reach
from core.persistence import audit, datasets, jobs, requests
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.ingest_lock import share_ingest_lock
from core.use_cases.keep_ledger import note_asked
from core.use_cases.read_requests import describe_request
from core.use_cases.resolve_subjects import DeletionOrder, Resolved, resolve_subjects

log = structlog.get_logger()
URGENT = 10
"""Priority of a deactivation; training has 0."""


class ExternalIdTaken(Conflict):
    """This client already made a request with this external_id."""


def accept_deletion(order: DeletionOrder, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Accept a request and return the receipt; a repeated Idempotency-Key returns the first receipt.

    Raises:
        Forbidden: the caller may not make requests.
        SubjectMissing, DatasetNotFound, ModelNotFound: see `resolve_subjects`.
        ExternalIdTaken: another request of this client has the same external_id.
        IdempotencyKeyReused: the key came with another body before.
        LedgerUnavailable: the erasure ledger cannot be written.
    """
    caller.require(Scope.REQUESTS_CREATE)
    answer = answer_once(doors, caller, once, lambda session: _accept(session, order, caller, doors))
    reach("after_intake_commit")
    # From here on, the identifier of the HTTP request leads to the deletion request, and that to its jobs.
    log.info("deletion.accepted", deletion_request=answer.body["id"], replayed=answer.replayed)
    return answer


def _accept(session: Connection, order: DeletionOrder, caller: Caller, doors: Doors) -> Answer:
    tenant = caller.tenant_id
    if order.external_id and requests.find_by_external_id(session, tenant, caller.key_id, order.external_id):
        raise ExternalIdTaken
    share_ingest_lock(session, tenant)
    found = resolve_subjects(session, doors, tenant, order)
    request_id = new_identifier("dr")
    enter_request(
        session,
        doors,
        found,
        id=request_id,
        tenant_id=tenant,
        external_id=order.external_id,
        regulation=order.regulation,
        created_by=caller.key_id,
        scope_models=None if order.models is None else [model.id for model in found.models],
        copies_policy=order.copies,
    )
    row = requests.lock_request(session, request_id)
    # Before the commit, and before the log's lock: others must not wait for the disk.
    note_asked(doors, row, found.owners, found.records)
    reach("after_request_noted")
    body = describe_request(session, row) | {
        "receipt": {"log_origin": doors.settings.log_origin, "index": audit.flush(session)[0]},
    }
    return Answer(status=202, body=body)


def enter_request(
    session: Connection, doors: Doors, found: Resolved, *, approved: bool = False, **facts: Any
) -> RequestState:
    """Refuse the owners at ingest, and write the request with its jobs, or for a second person to approve.

    Args:
        session: a transaction that shares the ingest lock.
        doors: the outside.
        found: the subject.
        approved: whether a second person approved it already.
        facts: the request's other columns: id, tenant_id, created_by, scope_models, copies_policy, …
    """
    if facts["scope_models"] is None:
        datasets.suppress(session, facts["tenant_id"], found.owners, facts["id"])
    requests.add_request(
        session,
        owners=found.owners,
        resolved=found.records,
        state=RequestState.RECEIVED,
        copies=found.copies,
        records=len(found.records),
        in_backbone=found.in_backbone,
        **facts,
    )
    request = requests.lock_request(session, facts["id"])
    needed = doors.settings.approval_required or any(model.approval_required for model in found.models)
    if needed and not approved:
        return requests.move_request(session, request, RequestEvent.APPROVAL_REQUIRED, wait_reason=WaitReason.APPROVAL)
    ids = [model.id for model in found.models]
    schedule(session, request, ids, RequestEvent.PLANNED, attempts=doors.settings.max_attempts)
    return RequestState.SCHEDULED


def schedule(
    session: Connection, request: Row[Any], model_ids: list[str], event: RequestEvent, *, attempts: int
) -> None:
    """Make one job per affected model, or a single one that erases and certifies when no model saw the subject."""
    requests.move_request(session, request, event)
    targets: list[str | None] = [*model_ids] or [None]
    for model_id in targets:
        add_deactivation(session, request, model_id, attempts=attempts)


def add_deactivation(session: Connection, request: Row[Any], model_id: str | None, *, attempts: int) -> None:
    """Put the request's job for one model in the lane, or for none."""
    jobs.add_job(
        session,
        tenant_id=request.tenant_id,
        id=new_identifier("job"),
        kind=JobKind.DEACTIVATE,
        subject=f"{request.id}/{model_id or '-'}",
        model_id=model_id,
        request_id=request.id,
        priority=URGENT,
        max_attempts=attempts,
    )
