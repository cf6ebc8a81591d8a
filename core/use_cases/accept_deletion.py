"""Take a deletion request in: resolve it, suppress the owners, write request, jobs and log entry in one commit.

The erasure ledger hears of it first, so that no restored database can make us forget that we were asked. The receipt
that goes back counts what was found. Nothing is trained and nothing is switched off here; the jobs that do
that are rung for by the commit itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.deletion import RequestEvent, RequestKind, WaitReason
from core.domain.errors import Conflict
from core.domain.identifiers import new_identifier
from core.domain.job import JobState
from core.faults import reach
from core.persistence import audit, checkpoints, datasets, jobs, models, requests
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.check_unlearning import check_kind, check_unlearning, resolve_concept
from core.use_cases.doors import Doors
from core.use_cases.ingest_lock import sharing_ingest_lock
from core.use_cases.keep_ledger import note_asked
from core.use_cases.read_requests import described
from core.use_cases.resolve_subjects import DeletionOrder, Resolved, named_owners, resolve_subjects, subject_questions

log = structlog.get_logger()
URGENT = 10
"""Priority of a deactivation; training has 0."""


class ExternalIdTaken(Conflict):
    """This client already made a request with this external_id."""


@dataclass(frozen=True)
class Entered:
    """A request as it will stand once its transaction commits."""

    found: Resolved
    request: Any
    """Its row."""
    received: audit.Noted
    """The entry that says so in the log."""
    work: list[dict[str, Any]]
    """Its jobs, as the API shows them."""


def accept_deletion(order: DeletionOrder, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Accept a request and return the receipt; a repeated Idempotency-Key returns the first receipt.

    Raises:
        Forbidden: the caller may not make requests.
        SubjectMissing, DatasetNotFound, ModelNotFound: see `named_owners` and `resolve_subjects`.
        ExternalIdTaken: another request of this client has the same external_id.
        IdempotencyKeyReused: the key came with another body before.
        LedgerUnavailable: the erasure ledger cannot be written.
    """
    caller.require(Scope.REQUESTS_CREATE)
    concept = order.kind is RequestKind.CONCEPT_SUPPRESSION
    check_kind(order)
    owners: frozenset[bytes] = frozenset() if concept else named_owners(doors, caller.tenant_id, order)
    entered: list[Entered] = []

    def accept(session: Connection, turn: list[Any], *answers: list[Any]) -> Answer:
        if concept:
            found = resolve_concept(session, caller.tenant_id, order)
        else:
            found = resolve_subjects(session, doors, caller.tenant_id, order, owners, answers)
        entered.append(_accept(session, order, caller, doors, found, at=turn[0].now))
        return Answer(status=202, body=_receipt(entered[0], doors))

    # Whoever changes rows waits for us from the first question on.
    ahead = [sharing_ingest_lock(caller.tenant_id), *subject_questions(caller.tenant_id, owners)]
    answer = answer_once(doors, caller, once, accept, ahead=ahead)
    reach("after_intake_commit")
    # Where the log has it is known from the commit on; the answer that is kept does without.
    answer.body["receipt"]["index"] = (
        _first_index(doors, caller, answer.body["id"]) if answer.replayed else entered[0].received.index
    )
    # From here on, the identifier of the HTTP request leads to the deletion request, and that to its jobs.
    log.info("deletion.accepted", deletion_request=answer.body["id"], replayed=answer.replayed)
    return answer


def _accept(  # noqa: PLR0913 - an order, who gave it, and what it found
    session: Connection, order: DeletionOrder, caller: Caller, doors: Doors, found: Resolved, *, at: datetime
) -> Entered:
    tenant = caller.tenant_id
    if order.external_id and requests.find_by_external_id(session, tenant, caller.key_id, order.external_id):
        raise ExternalIdTaken
    unlearning = check_unlearning(session, tenant, order, found.models)
    entered = enter_request(
        session,
        doors,
        found,
        id=new_identifier("dr"),
        tenant_id=tenant,
        external_id=order.external_id,
        regulation=order.regulation,
        created_by=caller.key_id,
        received_at=at,
        scope_models=None if order.models is None else [model.id for model in found.models],
        copies_policy=order.copies,
        kind=order.kind,
        unlearning=unlearning,
    )
    # Before the commit, and before the log's lock: others must not wait for the disk.
    note_asked(doors, entered.request, found.owners, found.records)
    reach("after_request_noted")
    return entered


def _receipt(entered: Entered, doors: Doors) -> dict[str, Any]:
    found = entered.found
    shown = described(entered.request, owners=sorted(found.owners), related=found.related, work=entered.work)
    return shown | {"receipt": {"log_origin": doors.settings.log_origin}}


def _first_index(doors: Doors, caller: Caller, request_id: str) -> int:
    with doors.database.glance() as session:
        return audit.first_index_of(session, caller.tenant_id, request_id)


def enter_request(
    session: Connection, doors: Doors, found: Resolved, *, approved: bool = False, **facts: Any
) -> Entered:
    """Refuse the owners at ingest, and write the request with its jobs, or for a second person to approve.

    Args:
        session: a transaction that shares the ingest lock.
        doors: the outside.
        found: the subject.
        approved: whether a second person approved it already.
        facts: the request's other columns: id, tenant_id, created_by, received_at, scope_models, copies_policy, …
    """
    if facts["scope_models"] is None:
        datasets.suppress(session, facts["tenant_id"], found.owners, facts["id"])
    needed = doors.settings.approval_required or any(model.approval_required for model in found.models)
    waits = needed and not approved
    request, received = requests.add_request(
        session,
        RequestEvent.APPROVAL_REQUIRED if waits else RequestEvent.PLANNED,
        owners=found.owners,
        resolved=found.records,
        wait_reason=WaitReason.APPROVAL if waits else None,
        copies=found.copies,
        records=len(found.records),
        in_backbone=found.in_backbone,
        **facts,
    )
    for model in found.models:
        if model.mode == Mode.APPROXIMATE and facts.get("kind", RequestKind.DATA_DELETION) == RequestKind.DATA_DELETION:
            checkpoints.flag_version(session, tenant_id=model.tenant_id, model_id=model.id, request_id=request.id)
    work: list[dict[str, Any]] = []
    if not waits:
        ids: list[str | None] = [model.id for model in found.models] or [None]
        attempts = doors.settings.max_attempts
        methods_for = {model.id for model in found.models if model.mode == Mode.APPROXIMATE}
        names = jobs.add_deactivations(
            session, request, ids, priority=URGENT, max_attempts=attempts, methods_for=methods_for
        )
        work = [{"id": name, "model": model, "state": JobState.WAITING} for name, model in zip(names, ids, strict=True)]
    return Entered(found, request, received, work)


def schedule(
    session: Connection, request: Row[Any], model_ids: list[str], event: RequestEvent, *, attempts: int
) -> None:
    """Make one job per affected model, or a single one that erases and certifies when no model saw the subject."""
    requests.move_request(session, request, event)
    jobs.add_deactivations(
        session,
        request,
        model_ids or [None],
        priority=URGENT,
        max_attempts=attempts,
        methods_for=models.approximate_among(session, model_ids),
    )


def add_deactivation(session: Connection, request: Row[Any], model_id: str | None, *, attempts: int) -> None:
    """Put the request's job for one model in the lane, or for none."""
    methods_for = models.approximate_among(session, [model_id] if model_id else [])
    jobs.add_deactivations(
        session, request, [model_id], priority=URGENT, max_attempts=attempts, methods_for=methods_for
    )
