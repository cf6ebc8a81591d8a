"""Show deletion requests: states, counts and links. Whom they are about is shown as keyed references only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.errors import RequestNotFound
from core.persistence import jobs, nodes, requests
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_requests(
    *, caller: Caller, doors: Doors, limit: int, cursor: str | None, filters: dict[str, Any]
) -> dict[str, Any]:
    """Return a page of requests, newest first."""
    caller.require(Scope.REQUESTS_READ)
    before = read_cursor(cursor, filters)
    with doors.database.transaction() as session:
        rows = requests.list_requests(session, caller.tenant_id, limit=limit + 1, before=before, **filters)
        shown = [describe_request(session, row) for row in rows]
    return page(shown, limit=limit, key="id", filters=filters)


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
    owners = requests.owners_of_request(session, row.id)
    work = jobs.jobs_of_request(session, row.id)
    issued = requests.certificates_of(session, row.id)
    return described(
        row,
        owners=owners,
        related=requests.related_requests(session, row.tenant_id, row.id, owners),
        work=[{"id": job.id, "model": job.model_id, "state": job.state} for job in work],
        switched_off=sum(len(nodes.died_for(session, job.model_id, row.id)) for job in work if job.model_id),
        certificates=[
            {"id": one.id, "model": one.model_id or None, "guarantee": one.guarantee or None} for one in issued
        ],
    )


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
