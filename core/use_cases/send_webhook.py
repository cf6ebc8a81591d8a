"""Make one call to a receiver: to an address that was looked at, within fifteen seconds, and nowhere else.

The name is resolved once. The connection goes to what it resolved to, while the Host header and the certificate are
those of the name; so whatever the name says a moment later (DNS rebinding) changes nothing. No redirect is followed, no
proxy is used, and what the receiver answers beyond its status is read a little and thrown away.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import httpcore2
import httpx2

from core.domain.errors import AddressRefused, NameUnresolved
from core.webhooks.address import Allowed, Resolver, Target, addresses_of, target_of
from core.webhooks.delivery import Outcome, Trouble, outcome_of

LIMIT_SECONDS = 15.0
"""Of one call altogether, however slowly a receiver drips."""
MOST_ANSWER_BYTES = 4096


def send_webhook(url: str, headers: Mapping[str, str], body: bytes, *, allowed: Allowed, resolve: Resolver) -> Outcome:
    """Post a body and say what came of it; never raises for what a receiver or the network does."""
    try:
        target = target_of(url)
        addresses = addresses_of(target, allowed=allowed, resolve=resolve)
    except NameUnresolved:
        return Outcome(trouble=Trouble.NAME_UNRESOLVED)
    except AddressRefused:
        return Outcome(trouble=Trouble.ADDRESS_REFUSED)
    try:
        return outcome_of(_post(target, addresses, headers, body))
    except httpcore2.TimeoutException:
        return Outcome(trouble=Trouble.TIMED_OUT)
    except httpcore2.ConnectError as error:
        # The pool takes the cause away; what was raised first is the argument.
        bad_certificate = any(isinstance(one, ssl.SSLError) for one in error.args)
        return Outcome(trouble=Trouble.CERTIFICATE if bad_certificate else Trouble.UNREACHABLE)
    except (httpcore2.ProtocolError, httpcore2.NetworkError):
        return Outcome(trouble=Trouble.BROKEN_ANSWER)


def _post(target: Target, addresses: Sequence[str], headers: Mapping[str, str], body: bytes) -> int:
    """Return the status of the answer."""
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    sent = [("Host", target.authority), ("Connection", "close"), *headers.items()]
    way = _Way(addresses, time.monotonic() + LIMIT_SECONDS)
    with (
        httpcore2.ConnectionPool(ssl_context=_trust(), network_backend=way) as pool,
        pool.stream("POST", url, headers=sent, content=body) as answer,
    ):
        read = 0
        for part in answer.iter_stream():
            read += len(part)
            if read >= MOST_ANSWER_BYTES:
                break
        return int(answer.status)


@cache
def _trust() -> ssl.SSLContext:
    """Return whom we trust; SSL_CERT_FILE in the environment names others, for controllers with an authority of their own."""
    return httpx2.create_ssl_context()


class _Way(httpcore2.NetworkBackend):
    """The way to one receiver: only to the addresses given, whatever host is asked for, and only until the deadline."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the name was resolved already, and is not asked again
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - ours is for everything together
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        *others, last = self._addresses
        for address in others:
            try:
                return self._connected(address, port, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        return self._connected(last, port, local_address, socket_options)

    def _connected(self, address: str, port: int, local: str | None, options: Iterable[Any] | None) -> _Stream:
        left = _left(self._deadline)
        stream = self._backend.connect_tcp(address, port, timeout=left, local_address=local, socket_options=options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore2.NetworkStream):
    """A connection whose every step may only take what is left of the time."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, timeout=_left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, timeout=_left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        left = _left(self._deadline)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout=left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    """Return the seconds that are left.

    Raises:
        httpcore2.ReadTimeout: none are.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout
    return left
