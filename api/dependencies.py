"""What a route may ask for: the caller, the doors, the key that makes a repeat safe, and the place in a list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime, BaseModel

from api.acquaintances import Acquaintances
from core.domain import access
from core.domain.canonical import canonical
from core.domain.errors import BadInput, IdempotencyKeyRequired
from core.use_cases.answer_once import Answer, OnceKey
from core.use_cases.authenticate import authenticate
from core.use_cases.doors import Doors
from core.use_cases.wording import MOST_PER_PAGE

bearer = HTTPBearer(auto_error=False, description="An API key: `lethe_…`")
LONGEST_KEY = 255
_ETAG = re.compile(r'"?([0-9]{1,9})"?')


async def the_doors(request: Request) -> Doors:
    doors: Doors = request.app.state.doors
    return doors


DoorsDoor = Annotated[Doors, Depends(the_doors)]


def the_caller(
    doors: DoorsDoor, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> access.Caller:
    return authenticate(doors, credentials.credentials if credentials else None)


Caller = Annotated[access.Caller, Depends(the_caller)]


class Needs:
    """A route's scope: checked before the body is looked at, and named in the OpenAPI document.

    The use case asks again, for the sake of the other front doors.
    """

    def __init__(self, scope: access.Scope) -> None:
        self.scope = scope

    async def __call__(self, caller: Caller) -> None:
        caller.require(self.scope)


def needs(scope: access.Scope) -> Any:
    return Depends(Needs(scope))


KeyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Makes a retry safe: the same key gets the first answer again."),
]


async def idempotency_key(value: KeyHeader = None) -> str | None:
    """Return the key, with or without the quotes of a structured field.

    Raises:
        BadInput: it is too long or holds control characters.
    """
    if value is None:
        return None
    key = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        raise BadInput(f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")
    return key


MaybeKey = Annotated[str | None, Depends(idempotency_key)]


async def required_key(key: MaybeKey) -> str:
    if key is None:
        raise IdempotencyKeyRequired
    return key


RequiredKey = Annotated[str, Depends(required_key)]


@dataclass(frozen=True)
class Asking:
    """Who asks for something that is done once, and under which key."""

    caller: access.Caller
    """Presumed, if the process knew them from before: for routes whose transaction asks about the key again."""
    doors: Doors
    key: str


class AsksOnce(Needs):
    """All that a busy route needs, found in one step: the framework takes its time over every dependency."""

    async def __call__(  # type: ignore[override]
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
        value: KeyHeader = None,
    ) -> Asking:
        doors = await the_doors(request)
        known: Acquaintances = request.app.state.acquaintances
        text = credentials.credentials if credentials else ""
        caller = known.recall(text)
        if caller is None:
            caller = await run_in_threadpool(authenticate, doors, text)
            known.remember(text, caller)
        caller.require(self.scope)
        return Asking(caller, doors, await required_key(await idempotency_key(value)))


def once(route: str, key: str | None, body: BaseModel | bytes) -> OnceKey:
    content = body if isinstance(body, bytes) else canonical(body.model_dump(mode="json"))
    return OnceKey(route=route, key=key, body=content)


def answered(response: Response, answer: Answer) -> dict[str, Any]:
    """Copy an answer's status and mark a replay."""
    response.status_code = answer.status
    if answer.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return answer.body


Limit = Annotated[int, Query(ge=1, le=MOST_PER_PAGE, description="How many to return.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before, with the same filters.")]
Moment = Annotated[AwareDatetime | None, Query(description="RFC 3339, with its zone.")]


async def if_match(value: Annotated[str | None, Header(alias="If-Match")] = None) -> int | None:
    """Return the row version that the caller has seen.

    Raises:
        BadInput: the header is no ETag of ours.
    """
    if value is None or value == "*":
        return None
    found = _ETAG.fullmatch(value)
    if found is None:
        raise BadInput("If-Match holds no ETag of this service")
    return int(found[1])


SeenVersion = Annotated[int | None, Depends(if_match)]
