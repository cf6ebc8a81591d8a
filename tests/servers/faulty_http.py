"""A proxy between a client and an HTTP server on this machine, which breaks what passes through it, on request.

    with FaultyHTTP(server.port) as proxy:          clients use proxy.url
        proxy.inject(answer(503), method="PUT", times=2)
        proxy.inject(swallow(), method="DELETE", times=None)      until proxy.heal()
        proxy.seen                                  every request that came, as "PUT /bucket/name"

A fault is a function that is given a `Passage` and does with it what it likes; those below are the usual ones. Requests
that no fault is meant for pass as they are. Signatures stay valid, because the Host header passes unchanged.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

PATIENCE_SECONDS = 120.0
HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Passage:
    """One request on its way, and the answer's way back."""

    def __init__(self, handler: _Handler, body: bytes) -> None:
        self._handler = handler
        self.method = handler.command
        self.path = handler.path
        self.body = body

    def forward(self) -> Answer:
        """Send the request on and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._handler.upstream, timeout=PATIENCE_SECONDS)
        try:
            connection.putrequest(self.method, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._handler.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders(self.body or None)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def reply(self, answer: Answer, *, promised: int | None = None, pause: float = 0.0) -> None:
        """Send an answer back.

        Args:
            answer: what to send.
            promised: the length to announce, when that is not the length of the body; the connection ends after it.
            pause: seconds to wait before every KiB of the body.
        """
        handler = self._handler
        handler.send_response_only(answer.status)
        told = next((value for name, value in answer.headers.items() if name.lower() == "content-length"), None)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                handler.send_header(name, value)
        length = len(answer.body) if promised is None else promised
        handler.send_header("Content-Length", told if self.method == "HEAD" and told is not None else str(length))
        handler.end_headers()
        if not pause:
            handler.wfile.write(answer.body)
        else:
            for start in range(0, len(answer.body), 1024):
                time.sleep(pause)
                handler.wfile.write(answer.body[start : start + 1024])
        handler.close_connection = handler.close_connection or length != len(answer.body)

    def reset(self) -> None:
        """End the connection as a crash does: with a reset, and without an answer."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.close_connection = True


Fault = Callable[[Passage], None]


def passing(passage: Passage) -> None:
    """Break nothing."""
    passage.reply(passage.forward())


def answer(status: int, *, code: str = "InternalError") -> Fault:
    """Answer with this status and an S3 error document, and forward nothing."""
    document = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    return lambda passage: passage.reply(Answer(status, {"Content-Type": "application/xml"}, document))


def swallow(status: int = 204) -> Fault:
    """Say that all is well, and forward nothing."""
    return lambda passage: passage.reply(Answer(status, {"ETag": '"0"'}))


def late(seconds: float) -> Fault:
    """Forward, and keep the answer back for a while."""

    def fault(passage: Passage) -> None:
        found = passage.forward()
        time.sleep(seconds)
        passage.reply(found)

    return fault


def drip(pause: float) -> Fault:
    """Send the answer's body a KiB at a time, each after a pause of so many seconds."""
    return lambda passage: passage.reply(passage.forward(), pause=pause)


def cut(passage: Passage) -> None:
    """Promise the whole body, send half of it, and end the connection."""
    found = passage.forward()
    passage.reply(Answer(found.status, found.headers, found.body[: len(found.body) // 2]), promised=len(found.body))


def shorten(passage: Passage) -> None:
    """Send half of the body, and promise no more than that."""
    found = passage.forward()
    passage.reply(Answer(found.status, found.headers, found.body[: len(found.body) // 2]))


def alter(passage: Passage) -> None:
    """Turn one bit of the answer's body over."""
    found = passage.forward()
    passage.reply(Answer(found.status, found.headers, _turned(found.body)))


def spoil(passage: Passage) -> None:
    """Turn one bit of the request's body over before it is forwarded."""
    passage.body = _turned(passage.body)
    passing(passage)


def reset(passage: Passage) -> None:
    """Forward nothing, and reset the connection."""
    passage.reset()


def lose_answer(passage: Passage) -> None:
    """Forward, so that it happens, and reset the connection instead of saying so."""
    passage.forward()
    passage.reset()


class FaultyHTTP:
    """The proxy, from `with` until its end."""

    def __init__(self, upstream: int) -> None:
        """Listen on a free port; requests will go to the port `upstream` of this machine."""
        self.seen: list[str] = []
        self.connections = 0
        """How many connections clients have made."""
        self._faults: list[_Injected] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self, upstream))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def inject(self, fault: Fault, *, method: str = "", path: str = "", times: int | None = 1) -> None:
        """Apply a fault to the next requests with this method and this in their path; `times` None: until `heal`."""
        with self._lock:
            self._faults.append(_Injected(fault, method, path, times))

    def heal(self) -> None:
        """Let everything pass from now on."""
        with self._lock:
            self._faults.clear()

    def counted(self, method: str) -> int:
        """Return how many requests with this method came."""
        return sum(line.startswith(f"{method} ") for line in self.seen)

    def choose(self, method: str, path: str) -> Fault:
        """Return what is to be done with a request that has come."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            for injected in self._faults:
                if injected.takes(method, path):
                    return injected.fault
        return passing

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


@dataclass
class _Injected:
    fault: Fault
    method: str
    path: str
    left: int | None

    def takes(self, method: str, path: str) -> bool:
        if (self.method and self.method != method) or self.path not in path or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyHTTP
    upstream: int

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.proxy.opened(self.connection)

    def finish(self) -> None:
        self.proxy.closed(self.connection)
        try:
            super().finish()
        except OSError:
            return  # the client went first

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # a client that was told nonsense may hang up at any moment

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.proxy.choose(self.command, self.path)(Passage(self, body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - names that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: `seen` tells."""


def _handler_of(proxy: FaultyHTTP, upstream: int) -> type[_Handler]:
    return type("Handler", (_Handler,), {"proxy": proxy, "upstream": upstream})


def _turned(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
