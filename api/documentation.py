"""What the OpenAPI document says beyond the routes themselves: problems as they are sent, and each route's scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from api.dependencies import Needs
from api.problems import PROBLEM_TYPE
from api.schemas.common import Problem

Responses = dict[int | str, dict[str, Any]]

_SENTENCES = {
    400: "The request cannot be read.",
    401: "A valid API key is required.",
    403: "This API key lacks the scope; the detail names it.",
    404: "There is no such thing, or it is another tenant's.",
    409: "The state of things does not allow this.",
    412: "It changed since it was looked at (If-Match).",
    413: "That is more bytes than this service takes.",
    415: "The body is of another type than this route reads.",
    422: "Understood, and cannot be done; or a field does not fit, which `errors` names.",
    503: "Try again; see Retry-After.",
}


def _documented(*statuses: int) -> Responses:
    return {status: {"description": _SENTENCES[status], "model": Problem} for status in statuses}


PROBLEMS = _documented(400, 401, 403, 404, 409, 422, 503)
"""What every route under /v1 may answer."""
STALE = _documented(412)
BODY = _documented(413, 415)
UNREADY = _documented(503)


def install(app: FastAPI) -> None:
    """Let the application describe itself once, and finish what the framework leaves open."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _finish(described(), dict(_scopes(app)))
        return app.openapi_schema or {}

    # Replacing the method is the way that FastAPI documents.
    app.openapi = openapi  # type: ignore[method-assign]


def scope_of(route: APIRoute) -> str | None:
    """Return the scope that a route declares; None when any key, or nobody's, will do."""
    for one in route.dependant.dependencies:  # codespell:ignore dependant
        if isinstance(one.call, Needs):
            return one.call.scope
    return None


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Yield every route, however deep its router is nested."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            yield context.original_route


def _scopes(app: FastAPI) -> Iterator[tuple[tuple[str, str], str]]:
    for route in api_routes(app):
        scope = scope_of(route)
        for method in (route.methods or ()) if scope else ():
            yield (route.path_format, method.lower()), str(scope)


def _finish(document: dict[str, Any], scopes: dict[tuple[str, str], str]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (path, method) in scopes:
                scope = scopes[path, method]
                operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`".strip()
                operation["x-required-scope"] = scope
            for status, response in operation["responses"].items():
                if status in map(str, _SENTENCES):
                    problem = {"$ref": "#/components/schemas/Problem"}
                    response["content"] = {PROBLEM_TYPE: {"schema": problem}}
