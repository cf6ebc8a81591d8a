"""Every line that is logged while a request is handled carries its name; a client's own name is echoed if it is safe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from api.app import create_app
from core.use_cases.doors import Doors
from tests.integration.callers import CANARY, client, once

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors, create_app(doors)) as opened:
        yield opened


def test_what_a_use_case_logs_carries_the_name_that_the_answer_carries(caller: TestClient) -> None:
    body = {"subject": {"identities": [{"identity_type": "email", "identity_value": CANARY}]}}
    theirs = {"X-Request-Id": UUID, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        answer = caller.post("/v1/deletion-requests", json=body, headers=once() | theirs)
    assert answer.status_code == 202
    assert answer.headers["x-request-id"] == UUID
    by_event = {line["event"]: line for line in logged}
    for event in ("deletion.accepted", "http"):
        line = by_event[event]
        assert line["request_id"] == answer.headers["lethe-request-id"]
        assert (line["client_request_id"], line["trace_id"]) == (UUID, TRACE)
    assert by_event["deletion.accepted"]["deletion_request"] == answer.json()["id"]
    assert CANARY not in str(logged)


@pytest.mark.parametrize("name", [CANARY, "jane", "4915112345678", "a" * 500])
def test_a_name_that_could_be_a_person_is_neither_logged_nor_echoed(caller: TestClient, name: str) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        answer = caller.get("/v1/models", headers={"X-Request-Id": name, "traceparent": name})
    assert "x-request-id" not in answer.headers
    assert answer.headers["lethe-request-id"].startswith("req_")
    assert name not in str(logged)


def test_two_requests_share_no_name(caller: TestClient) -> None:
    names = {caller.get("/healthz").headers["lethe-request-id"] for _ in range(5)}
    assert len(names) == 5
