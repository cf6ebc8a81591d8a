"""Let an owner who was deleted come back, because they consented anew: the log keeps who said so and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from core.audit.encoding import timestamp
from core.domain.access import Caller, Scope
from core.domain.references import owner_reference
from core.persistence import datasets
from core.use_cases.answer_once import Answer, OnceKey, answer_once
from core.use_cases.doors import Doors
from core.use_cases.keep_ledger import note_reconsent
from core.use_cases.resolve_subjects import Identity


def record_reconsent(identity: Identity, *, caller: Caller, once: OnceKey, doors: Doors) -> Answer:
    """Accept the owner's rows again from now on; say whether they had been refused."""
    caller.require(Scope.REQUESTS_APPROVE)
    owner = owner_reference(doors.tenant_key(caller.tenant_id), identity.identity_type, identity.value)

    def record(session: Connection) -> Answer:
        was_refused = datasets.release_suppression(session, caller.tenant_id, owner)
        at = timestamp(session.execute(select(func.clock_timestamp())).scalar_one())
        body: dict[str, Any] = {
            "object": "reconsent",
            "subject_reference": owner.hex(),
            "was_refused": was_refused,
            "recorded_at": at,
        }
        return Answer(status=200, body=body)

    answer = answer_once(doors, caller, once, record)
    # A repeat notes the first time again, in case we were killed before we could.
    note_reconsent(doors, caller.tenant_id, owner, datetime.fromisoformat(answer.body["recorded_at"]))
    return answer
