"""Answer a repeated request with the first answer (Idempotency-Key): same transaction as the effect, so never twice.

Same key and same body: the stored answer. Same key and another body: refused. A body is remembered as a keyed
fingerprint, and an answer holds references only, so no identity is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.audit.entry import Actor, ActorKind
from core.domain.access import Caller
from core.domain.errors import IdempotencyKeyReused, Unauthenticated
from core.domain.references import keyed_fingerprint
from core.persistence import tenants
from core.persistence.round_trips import Question, together
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


def answer_once(
    doors: Doors, caller: Caller, once: OnceKey, effect: Callable[..., Answer], *, ahead: Sequence[Question] = ()
) -> Answer:
    """Run `effect` in a transaction of its own, unless its key has an answer already.

    Args:
        doors: the outside.
        caller: who asks. One that is only presumed to be allowed in is confirmed here.
        once: what makes it safe to repeat.
        effect: is given the transaction, and the rows that each of `ahead` was answered with.
        ahead: what the effect wants to know first; it travels with the claim of the key, so it must do no harm if the
            key has an answer.

    Raises:
        IdempotencyKeyReused: the key was used with another body.
        Unauthenticated: the presumed caller's key was revoked or has expired.
    """
    # Nobody is answered before the disk has it; until then nobody else need wait.
    with doors.database.transaction(Actor(ActorKind.CLIENT, caller.key_id), shared_flush=True) as session:
        asked = [tenants.still_valid(caller.key_id), *ahead] if caller.presumed else ahead
        if once.key is None:
            return effect(session, *_confirmed(caller, together(session, *asked) if asked else []))
        secret = doors.tenant_key(caller.tenant_id)
        # The key too is kept as a fingerprint: nothing stops a client from putting an identity into it.
        key = keyed_fingerprint(secret, once.key.encode())
        name = {"tenant_id": caller.tenant_id, "client_id": caller.key_id, "route": once.route, "key": key}
        fingerprint = keyed_fingerprint(secret, once.body)
        first, answers = tenants.claim_idempotency_key(session, *asked, **name, fingerprint=fingerprint)
        known = _confirmed(caller, answers)
        if first is not None:
            if first.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            return Answer(status=first.status, body=first.body, replayed=True)
        answer = effect(session, *known)
        tenants.keep_answer(session, **name, status=answer.status, body=answer.body)
        return answer


def _confirmed(caller: Caller, answers: list[Any]) -> list[Any]:
    """Return what was answered to the effect's questions, if the caller's key is still valid."""
    if not caller.presumed:
        return answers
    if not answers[0]:
        raise Unauthenticated
    return answers[1:]
