"""A receiver of webhooks: a real HTTP server on this machine that keeps what it was sent and answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from core.webhooks.standard import read_secret, verify


@dataclass(frozen=True)
class Received:
    """One call."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def name(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def signed_with(self, secret: str) -> None:
        verify(read_secret(secret), self.headers, self.body, now=int(self.headers["webhook-timestamp"]))


Answer = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[Received], Answer]


def fine(call: Received) -> Answer:  # noqa: ARG001 - a behaviour's shape
    return 204, {}, b""


def with_status(status: int, **headers: str) -> Behaviour:
    return lambda call: (status, headers, b"")  # noqa: ARG005


@dataclass
class Receiver:
    """A running receiver; `behave` may be changed at any time."""

    port: int
    behave: Behaviour = fine
    calls: list[Received] = field(default_factory=list)
    busiest: int = 0
    """Most calls that were under way at once."""
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [call.event for call in self.calls]

    def types(self) -> list[str]:
        return [event["type"].removeprefix("org.lethe.").removesuffix(".v1") for event in self.events]


@contextmanager
def receiving(behave: Behaviour = fine, *, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver; a port of 0 picks a free one."""
    receiver = Receiver(0, behave)

    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Received(self.path, headers, body)
            with receiver.lock:
                receiver.calls.append(call)
                receiver.busy += 1
                receiver.busiest = max(receiver.busiest, receiver.busy)
            try:
                status, more, content = receiver.behave(call)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                with receiver.lock:  # before the answer: who reads it may call again at once
                    receiver.busy -= 1
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the caller hung up

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a caller that did not like our certificate

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = False  # closing waits for every call, so that no socket is left open
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
