"""Answer a repeated request with the first answer (Idempotency-Key): same transaction as the effect, so never twice.

Same key and same body: the stored answer. Same key and another body: refused. A body is remembered as a keyed
fingerprint, and an answer holds references only, so no identity is kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core.audit.entry import Actor, ActorKind
from core.domain.access import Caller
from core.domain.errors import IdempotencyKeyReused
from core.domain.references import keyed_fingerprint
from core.persistence import tenants
from core.use_cases.doors import Doors


@dataclass(frozen=True)
class OnceKey:
    """What a caller says to make a request safe to repeat."""

    route: str
    key: str | None
    body: bytes
    """The request's bytes in canonical form; only their keyed fingerprint is kept."""


@dataclass(frozen=True)
class Answer:
    """A status for the front door and a body; `replayed` when it was stored before."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


def answer_once(doors: Doors, caller: Caller, once: OnceKey, effect: Callable[[Connection], Answer]) -> Answer:
    """Run `effect` in a transaction of its own, unless its key has an answer already.

    Raises:
        IdempotencyKeyReused: the key was used with another body.
    """
    # Nobody is answered before the disk has it; until then nobody else need wait.
    with doors.database.transaction(Actor(ActorKind.CLIENT, caller.key_id), shared_flush=True) as session:
        if once.key is None:
            return effect(session)
        secret = doors.tenant_key(caller.tenant_id)
        # The key too is kept as a fingerprint: nothing stops a client from putting an identity into it.
        key = keyed_fingerprint(secret, once.key.encode())
        name = {"tenant_id": caller.tenant_id, "client_id": caller.key_id, "route": once.route, "key": key}
        fingerprint = keyed_fingerprint(secret, once.body)
        first = tenants.claim_idempotency_key(session, **name, fingerprint=fingerprint)
        if first is not None:
            if first.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            return Answer(status=first.status, body=first.body, replayed=True)
        answer = effect(session)
        tenants.keep_answer(session, **name, status=answer.status, body=answer.body)
        return answer
