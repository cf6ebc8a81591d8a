"""Errors become application/problem+json here and nowhere else (RFC 9457).

`code` is the contract. Nothing that was sent is ever echoed: the framework's own validation errors repeat the input,
which may be a person's identity, so they are rewritten to pointers and codes; and an address is shown as its route.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.exceptions import HTTPException

from api.schemas.common import CHOICE
from core.domain import errors
from core.domain.identifiers import ALPHABET, new_identifier

PROBLEMS = "https://lethe.dev/problems/"
PROBLEM_TYPE = "application/problem+json"
STATUS: dict[type[errors.LetheError], int] = {
    errors.BadInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.StaleRowVersion: 412,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Impossible: 422,
    errors.Unavailable: 503,
    errors.Unusable: 503,
}
RETRYABLE = frozenset({409, 503})
WORDS = {
    400: "bad_input",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
MOST_FLAWS = 100
_OURS = re.compile(rf"[a-z]{{2,4}}_[{ALPHABET}]{{26}}")
log = structlog.get_logger()


def status_of(error: errors.LetheError) -> int:
    """Return the HTTP status of an error: that of its nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def install(app: FastAPI) -> None:
    """Translate every error of this application; whatever escapes these is caught by the `Envelope`."""
    app.add_exception_handler(errors.LetheError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(IntegrityError, _collision)
    for lost in (OperationalError, InterfaceError, PoolExhausted):
        app.add_exception_handler(lost, _database)


def problem(request: Request, status: int, code: str, title: str, detail: str, **extra: Any) -> JSONResponse:
    """Return one problem document."""
    body = {
        "type": PROBLEMS + code.replace("_", "-"),
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        **_instance(request),
        "request_id": getattr(request.state, "request_id", None) or new_identifier("req"),
        "retryable": status in RETRYABLE,
        **extra,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}  # noqa: PLR2004
    if status == 503:  # noqa: PLR2004
        headers["Retry-After"] = "1"
    return JSONResponse(body, status_code=status, headers=headers, media_type=PROBLEM_TYPE)


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer for an error that nobody foresaw; only its kind is logged, for a message may repeat values."""
    log.error("unexpected", kind=type(error).__name__, route=getattr(request.scope.get("route"), "path", "unknown"))
    return problem(request, 500, "unexpected", "Something went wrong here", "the fault is ours and was logged")


def _instance(request: Request) -> dict[str, str]:
    """Return the route with the identifiers that Lethe gave; a name that somebody made up becomes a dash."""
    route = request.scope.get("route")
    if route is None:
        return {}
    given = {name: str(value) for name, value in request.path_params.items()}
    known = {name: value if _OURS.fullmatch(value) else "-" for name, value in given.items()}
    return {"instance": re.sub(r"{(\w+)[^}]*}", lambda found: known.get(found[1], "-"), route.path)}


async def _domain(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.LetheError):
        raise error
    flaws = [{"pointer": flaw.pointer, "code": flaw.code, "detail": flaw.detail} for flaw in error.flaws]
    extra = {"errors": flaws} if flaws else {}
    return problem(request, status_of(error), error.code, error.title, error.detail, **extra)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(one["loc"][:1] == ("path",) for one in found):
        return _plain(request, 404)
    if any(one["type"] == "json_invalid" for one in found):
        return problem(request, 400, "bad_input", "The request could not be read", "the body is not JSON")
    if _not_json(request) and any(one["loc"] == ("body",) for one in found):
        return _plain(request, 415)
    words = _field_names(request)
    # `input`, `ctx` and `url` are left out: they hold or lead to what was sent.
    flaws = [
        {"pointer": "".join(f"/{part}" for part in _place(one, words)), "code": one["type"], "detail": _sentence(one)}
        for one in found[:MOST_FLAWS]
    ]
    title = "The request does not fit its schema"
    return problem(request, 422, "invalid_body", title, f"{len(found)} fields are wrong; see errors", errors=flaws)


def _not_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return not (kind == "application/json" or kind.endswith("+json"))


def _place(one: dict[str, Any], words: frozenset[str]) -> Iterator[str | int]:
    """Yield the way to a field. A key that somebody made up may hold an identity: only its place is named."""
    location = one["loc"]
    for part in location[1:] if location[:1] == ("body",) else location:
        if isinstance(part, str) and part.startswith(CHOICE):
            continue  # which of several bodies was meant: no part of what was sent
        yield part if isinstance(part, int) or part in words else "(unknown field)"


def _field_names(request: Request) -> frozenset[str]:
    """Return every name that the service's own description has: of fields, parameters and where they stand."""
    state = request.app.state
    if not hasattr(state, "field_names"):
        state.field_names = frozenset({"body", "query", "header", "form", *_names(request.app.openapi())})
    known: frozenset[str] = state.field_names
    return known


def _names(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _names(item)
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield from part["properties"]
        if "in" in part and "name" in part:
            yield part["name"]
        for item in part.values():
            yield from _names(item)


def _sentence(one: dict[str, Any]) -> str:
    plain = {
        "missing": "this field is required",
        "extra_forbidden": "there is no such field",
        "union_tag_invalid": "there is no such kind",
    }
    kind = str(one["type"])
    if kind == "value_error":
        return str(one.get("ctx", {}).get("error", "the value does not fit"))
    return plain.get(kind, kind.replace("_", " "))


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    # An unknown verb such as /v1/models:frobnicate meets a route of another method; it does not exist all the same.
    hidden = error.status_code == 405 and ":" in request.url.path  # noqa: PLR2004
    answer = _plain(request, 404 if hidden else error.status_code)
    if not hidden:
        answer.headers.update(error.headers or {})
    return answer


def _plain(request: Request, status: int) -> JSONResponse:
    code = WORDS.get(status, "http_error")
    return problem(request, status, code, code.replace("_", " ").capitalize(), code.replace("_", " "))


async def _unstorable(request: Request, error: Exception) -> JSONResponse:
    # A zero byte in a text, a number beyond 64 bits: nothing that is stored could ever match it.
    log.info("database.refused_value", kind=type(error).__name__)
    return problem(request, 400, "bad_input", "The request could not be read", "a value is of no kind that exists here")


async def _collision(request: Request, error: Exception) -> JSONResponse:
    # Two requests at the same moment wanted what only one may have; the other one won.
    log.info("database.collision", kind=type(error).__name__)
    title = "The state of things does not allow this"
    return problem(request, 409, "conflict", title, "another request took the same name or identifier just now")


async def _database(request: Request, error: Exception) -> JSONResponse:
    log.error("database.unavailable", kind=type(error).__name__)
    return problem(request, 503, "unavailable", "The database does not answer", "try again in a moment")
