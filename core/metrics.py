"""What a process counts, for Prometheus: requests, answers, refusals and troubles. Words from closed lists, no identities.

    this page         counters of one process; each process has its own, and Prometheus adds them up
    measure_service   what the database knows of the whole deployment, read when it is scraped (`core.use_cases`)

The API and the predictor show both kinds, or the first, under `/metrics`; workers and the dispatcher call `serve`. No
label takes a value that a caller could choose: a route is its template, a tenant or a model is never named.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.registry import Collector

from core.domain.errors import Unusable

CONTENT_TYPE = CONTENT_TYPE_LATEST
FAST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_http = Counter(
    "lethe_http_requests",
    "Requests answered, by route template.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
_http_seconds = Histogram(
    "lethe_http_request_seconds",
    "How long an answer took, until its last byte was handed on.",
    ["method", "route"],
    buckets=FAST_SECONDS,
    registry=REGISTRY,
)
_predictions = Counter(
    "lethe_predictions",
    "Inputs classified; degraded ones by the public model alone.",
    ["degraded"],
    registry=REGISTRY,
)
_refused = Counter(
    "lethe_stale_write_refused",
    "Transactions of this process that were refused because somebody had taken over (stale_fence) or a deletion was "
    "quicker (overtaken_by_deletion).",
    ["reason"],
    registry=REGISTRY,
)
_deliveries = Counter(
    "lethe_webhook_deliveries", "Attempts to deliver an event to a webhook.", ["result"], registry=REGISTRY
)
_store_failed = Counter(
    "lethe_object_store_errors", "Calls to the object store that came to nothing.", ["operation"], registry=REGISTRY
)
_store_retried = Counter(
    "lethe_object_store_retries", "Calls to the object store that were made again.", ["operation"], registry=REGISTRY
)


def http_answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer; `route` is the template, never the address as it was called."""
    answers, times = _of_route(method, route, status)
    answers.inc()
    times.observe(seconds)


@cache
def _of_route(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts such answers; looking it up by its labels takes longer than counting."""
    return _http.labels(method, route, status), _http_seconds.labels(method, route)


def predicted(inputs: int, *, degraded: bool) -> None:
    _predictions.labels("true" if degraded else "false").inc(inputs)


def write_refused(reason: str) -> None:
    """Count a write that came too late; `reason` is the error's code."""
    _refused.labels(reason).inc()


def webhook_delivered(result: str) -> None:
    """Count an attempt at a delivery; `result` is one of the caller's closed list of words."""
    _deliveries.labels(result).inc()


def store_failed(operation: str) -> None:
    """Count a call to the object store that came to nothing; `operation` is the store's method."""
    _store_failed.labels(operation).inc()


def store_retried(operation: str) -> None:
    _store_retried.labels(operation).inc()


def exposition(more: Iterable[Collector] = ()) -> bytes:
    """Return what Prometheus reads: this process's counters, then those of `more`."""
    content = generate_latest(REGISTRY)
    for collector in more:
        other = CollectorRegistry()
        other.register(collector)
        content += generate_latest(other)
    return content


def serve(port: int, host: str = "127.0.0.1") -> WSGIServer:
    """Serve this process's metrics on a port of their own from now on; 0 picks a free one, `server_port` tells which.

    Raises:
        Unusable: somebody else listens there.
    """
    try:
        server, _ = start_http_server(port, host, REGISTRY)
    except OSError:
        raise Unusable(f"the metrics port {port} on {host} is busy; choose another LETHE_METRICS_PORT") from None
    return server
