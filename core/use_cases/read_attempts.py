"""Show what was tried for a request on checkpoints: every attempt, with what the judge found and why it was or was not accepted."""

from __future__ import annotations

from typing import Any

from core.domain.access import Caller, Scope
from core.domain.errors import RequestNotFound
from core.persistence import checkpoints, requests
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_attempts(request_id: str, *, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of a request's attempts on all its checkpoints, oldest first.

    Raises:
        RequestNotFound: the tenant has none such.
    """
    caller.require(Scope.REQUESTS_READ)
    filters = {"request": request_id}
    after = read_cursor(cursor, of="attempts", filters=filters, kind=int) or 0
    with doors.database.transaction() as session:
        if requests.find_request(session, caller.tenant_id, request_id) is None:
            raise RequestNotFound
        rows = checkpoints.page_of_attempts(session, request_id, limit=limit + 1, after=after)
    shown = [
        {
            "object": "method_attempt",
            "position": position,
            "job": row.job_id,
            "model": row.model_id,
            **row.account,
            "ended_at": moment(row.ended_at),
        }
        for position, row in enumerate(rows, start=after + 1)
    ]
    return page(shown, of="attempts", limit=limit, key="position", filters=filters)
