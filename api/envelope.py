"""What surrounds every request: a name, a bound on its body, one log line, and a net for errors that nobody foresaw.

The name is ours (`req_…`) and stands on every line that is logged while the request is handled. A client's own
X-Request-Id is echoed, and logged beside ours, if it is a UUID; a traceparent gives its trace id.

Plain ASGI, because it must stay out of the way: no task and no queue stands between an answer and its socket.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import unexpected
from core import metrics
from core.domain.identifiers import new_identifier
from core.logging import about, client_identifiers

log = structlog.get_logger()
CLIENT_GONE = 499
_NONE = re.compile(r"(?!)")
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Envelope:
    """ASGI middleware around one application."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, self_bounded: re.Pattern[str] = _NONE) -> None:
        """Bound every body to `most_bytes`, except on paths that `self_bounded` matches whole, which count for themselves."""
        self.app = app
        self.most_bytes = most_bytes
        self.self_bounded = self_bounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = new_identifier("req")
        scope.setdefault("state", {})["request_id"] = name
        theirs = client_identifiers(_header(scope, b"x-request-id"), _header(scope, b"traceparent"))
        echo = [(b"lethe-request-id", name.encode())]
        if "client_request_id" in theirs:
            echo.append((b"x-request-id", theirs["client_request_id"].encode()))
        started, status = time.perf_counter(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *echo]
            await send(message)

        with ExitStack() as last:
            last.enter_context(about(request_id=name, **theirs))
            last.callback(lambda: _tell(scope, status, time.perf_counter() - started))
            try:
                await self.app(scope, self._bounded(scope, receive), named)
            except ClientDisconnect:
                status = status or CLIENT_GONE  # in the middle of its body; nobody is left to answer
            except Exception as error:  # noqa: BLE001 - raised any further, the server would print it with the values
                answer = unexpected(Request(scope), error)
                if not status:
                    await answer(scope, receive, named)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        if self.self_bounded.fullmatch(scope["path"]):
            return receive
        received = 0

        async def counted() -> Message:
            nonlocal received
            if declared_length(scope) > self.most_bytes:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise HTTPException(413)
            return message

        return counted


def declared_length(scope: Scope) -> int:
    """Return what the Content-Length header promises; 0 when it promises nothing."""
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(text) if text.isdigit() and len(text) < 20 else 0  # noqa: PLR2004 - more digits than any file has


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    # The route's template, never the address as it was called: that may hold an identity.
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = getattr(scope.get("route"), "path", "unknown")
    log.info("http", method=method, route=route, status=status, milliseconds=round(1000 * seconds, 1))
    metrics.http_answered(method, route, status, seconds)
