"""What a process counts, and how Prometheus gets it."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core import metrics
from core.domain.errors import Unusable


def value(content: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(content):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def test_what_happens_is_counted() -> None:
    before = metrics.exposition().decode()
    metrics.http_answered("GET", "/v1/models/{model}", 200, 0.02)
    metrics.predicted(3, degraded=False)
    metrics.write_refused("stale_fence")
    metrics.webhook_delivered("success")
    metrics.store_failed("get")
    metrics.store_retried("put")
    after = metrics.exposition().decode()
    for name, labels, step in (
        ("lethe_http_requests_total", {"route": "/v1/models/{model}", "status": "200"}, 1),
        ("lethe_http_request_seconds_count", {"route": "/v1/models/{model}"}, 1),
        ("lethe_predictions_total", {"degraded": "false"}, 3),
        ("lethe_stale_write_refused_total", {"reason": "stale_fence"}, 1),
        ("lethe_webhook_deliveries_total", {"result": "success"}, 1),
        ("lethe_object_store_errors_total", {"operation": "get"}, 1),
        ("lethe_object_store_retries_total", {"operation": "put"}, 1),
    ):
        assert value(after, name, **labels) - value(before, name, **labels) == step, name


def test_a_worker_serves_its_own_on_a_port_and_a_busy_port_is_a_sentence() -> None:
    server = metrics.serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=30) as answer:
            assert b"lethe_http_requests_total" in answer.read()
        with pytest.raises(Unusable, match="LETHE_METRICS_PORT"):
            metrics.serve(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
