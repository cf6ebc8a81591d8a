"""HTTP connections that acknowledge at once.

A server that sends the head and the body of an answer in two pieces, without TCP_NODELAY, holds the second back until
the first is acknowledged; Linux acknowledges it after 40 ms. Ceph's gateway is such a server unless it is told
otherwise, and 40 ms for each object is most of what a deletion may take. Linux leaves this mode whenever it likes, so
it is asked for again before every answer; where there is no such mode, nothing is.
"""

from __future__ import annotations

import socket

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

_AT_ONCE = getattr(socket, "TCP_QUICKACK", None)


class _Prompt(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 overrides it so
        if _AT_ONCE is not None and self.sock is not None:
            self.sock.setsockopt(socket.IPPROTO_TCP, _AT_ONCE, 1)
        return super().getresponse()


class _PromptOverTLS(_Prompt, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Prompt


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _PromptOverTLS


def prompt_pool(*, ca_certs: str, timeout_seconds: float, most: int) -> urllib3.PoolManager:
    """Return a pool of such connections that repeats nothing by itself.

    Args:
        ca_certs: file with the certificates of trusted authorities.
        timeout_seconds: for connecting, and for each next piece of an answer.
        most: how many connections to one address are kept; more may be open at times.
    """
    pool = urllib3.PoolManager(
        maxsize=most,
        timeout=urllib3.Timeout(connect=timeout_seconds, read=timeout_seconds),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_certs,
    )
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return pool
