"""Show deletion requests: states, counts and links. Whom they are about is shown as keyed references only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.errors import RequestNotFound
from core.persistence import job_questions, nodes, requests
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_requests(
    *, caller: Caller, doors: Doors, limit: int, cursor: str | None, filters: dict[str, Any]
) -> dict[str, Any]:
    """Return a page of requests, newest first."""
    caller.require(Scope.REQUESTS_READ)
    before = read_cursor(cursor, of="requests", filters=filters)
    with doors.database.transaction() as session:
        rows = requests.list_requests(session, caller.tenant_id, limit=limit + 1, before=before, **filters)
        shown = describe_requests(session, caller.tenant_id, rows)
    return page(shown, of="requests", limit=limit, filters=filters)


def read_request(request_id: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one request.

    Raises:
        RequestNotFound: the tenant has none such.
    """
    caller.require(Scope.REQUESTS_READ)
    with doors.database.transaction() as session:
        row = requests.find_request(session, caller.tenant_id, request_id)
        if row is None:
            raise RequestNotFound
        return describe_request(session, row)


def describe_request(session: Connection, row: Row[Any]) -> dict[str, Any]:
    """Return a request as the API shows it."""
    [shown] = describe_requests(session, row.tenant_id, [row])
    return shown


def describe_requests(session: Connection, tenant_id: str, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return requests of one tenant as the API shows them, with as many questions for a page as for one."""
    ids = [row.id for row in rows]
    owners: dict[str, list[bytes]] = defaultdict(list)
    work: dict[str, list[dict[str, Any]]] = defaultdict(list)
    issued: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in requests.owners_of_requests(session, ids):
        owners[one.request_id].append(one.owner)
    for job in job_questions.jobs_of_request(session, *ids):
        work[job.request_id].append({"id": job.id, "model": job.model_id, "state": job.state})
    for one in requests.certificates_of(session, *ids):
        shown = {"id": one.id, "model": one.model_id or None, "guarantee": one.guarantee or None}
        issued[one.request_id].append(shown)
    related = requests.related_requests(session, tenant_id, ids)
    switched_off = nodes.count_died_for(session, ids)
    return [
        described(
            row,
            owners=owners[row.id],
            related=related[row.id],
            work=work[row.id],
            switched_off=switched_off.get(row.id, 0),
            certificates=issued[row.id],
        )
        for row in rows
    ]


def described(  # noqa: PLR0913 - what is kept beside its row
    row: Any,
    *,
    owners: Sequence[bytes],
    related: Sequence[str],
    work: Sequence[dict[str, Any]],
    switched_off: int = 0,
    certificates: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return a request as the API shows it, of what is known of it already."""
    return {
        "id": row.id,
        "object": "deletion_request",
        "kind": row.kind,
        "unlearning": row.unlearning,
        "state": row.state,
        "wait_reason": row.wait_reason,
        "result": row.result,
        "external_id": row.external_id,
        "regulation": row.regulation,
        "subject_references": [owner.hex() for owner in owners],
        "records": row.records,
        "copies": {"under_other_owners": row.copies, "policy": row.copies_policy},
        "scope": {"models": row.scope_models},
        "jobs": [*work],
        "nodes_switched_off": switched_off,
        "certificates": [*certificates],
        "related": [*related],
        "row_version": row.row_version,
        "received_at": moment(row.received_at),
        "influence_free_at": moment(row.influence_free_at),
        "completed_at": moment(row.completed_at),
        "updated_at": moment(row.updated_at),
    }
