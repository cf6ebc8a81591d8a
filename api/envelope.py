"""What surrounds every request: a name, a bound on its body, one log line, and a net for errors that nobody foresaw.

Plain ASGI, because it must stay out of the way: no task and no queue stands between an answer and its socket.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import unexpected
from core.domain.identifiers import new_identifier

log = structlog.get_logger()
CLIENT_GONE = 499
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Envelope:
    """ASGI middleware around one application."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, self_bounded: Collection[str] = ()) -> None:
        """Bound every body to `most_bytes`, except on the paths in `self_bounded`, which count for themselves."""
        self.app = app
        self.most_bytes = most_bytes
        self.self_bounded = frozenset(self_bounded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = new_identifier("req")
        scope.setdefault("state", {})["request_id"] = name
        started, status = time.perf_counter(), 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"lethe-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, self._bounded(scope, receive), named)
        except ClientDisconnect:
            status = status or CLIENT_GONE  # in the middle of its body; nobody is left to answer
        except Exception as error:  # noqa: BLE001 - raised any further, the server would print it with the values in it
            answer = unexpected(Request(scope), error)
            if not status:
                await answer(scope, receive, named)
        finally:
            _tell(scope, name, status, started)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        if scope["path"] in self.self_bounded:
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


def _tell(scope: Scope, name: str, status: int, started: float) -> None:
    # The route's template, never the address as it was called: that may hold an identity.
    log.info(
        "http",
        request_id=name,
        method=scope["method"] if scope["method"] in METHODS else "other",
        route=getattr(scope.get("route"), "path", "unknown"),
        status=status,
        milliseconds=round(1000 * (time.perf_counter() - started), 1),
    )
