"""Errors: one shape for all of them, and nothing that was sent comes back or reaches a log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DataError, OperationalError
from starlette.testclient import TestClient

from api.app import LARGEST_BODY, create_app
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import CANARY, bearer, client, key, once, problem, service, sibling, subject

WORD = "canaryperson"  # an identity that looks like a name of a field
IDENTITY = {"identity_type": "email", "identity_value": CANARY}


@pytest.fixture(scope="module")
def caller(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with service(server_url, template, tmp_path_factory.mktemp("problems")) as opened:
        world.add_dataset(opened)
        with client(opened) as http:
            yield http


def bodies() -> Iterator[tuple[str, Any]]:
    """Yield bodies that are wrong in every way, each with the canary where something is wrong."""
    for name in (CANARY, WORD):
        yield "/v1/deletion-requests", {"subject": name}
        yield "/v1/deletion-requests", {"subject": {"identities": [name]}}
        yield "/v1/deletion-requests", subject() | {name: 1}
        yield "/v1/deletion-requests", subject() | {"copies": name}
        yield "/v1/deletion-requests", {"subject": {"identities": [{"identity_value": name}]}}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY | {"identity_type": name + "!"}]}}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY | {name: name}]}}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY | {"identity_value": [name]}]}}
        yield "/v1/deletion-requests", {"subject": {"records": [{"dataset": name, "record_ids": [name]}]}}
        yield "/v1/deletion-requests", {"subject": {"records": [{"dataset": {name: name}, "record_ids": name}]}}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY]}, "scope": {"models": [name]}}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY]}, "external_id": name + " "}
        yield "/v1/deletion-requests", {"subject": {"identities": [IDENTITY]}, "regulation": name + "!"}
        yield "/v1/deletion-requests:preview", {"subject": {"records": [{"dataset": name, "record_ids": [name]}]}}
        yield "/v1/models", {"name": name + "!", "dataset": name, "recipe": {"shards": name, "slices": 3}}
        yield "/v1/models", {"name": "good", "dataset": name, "recipe": {"shards": 1, "slices": 1}}
        yield (
            "/v1/models",
            {"name": "good", "dataset": "x", "recipe": {"shards": 1, "slices": 1}, "placement_key": name},
        )
        yield "/v1/datasets", {"name": "good", "schema": {name: 1}, "files": {name: 1, "file": [name]}}
        yield "/v1/datasets", {"name": "good", "schema": world.SCHEMA.as_json(), "files": {"file": f"/srv/{name}"}}
        yield "/v1/api-keys", {"name": name + "!", "scopes": [name], "days": name}


ADDRESSES = [
    f"/v1/{CANARY}",
    f"/v1/models/{CANARY}",
    f"/v1/models/{CANARY}/versions/{CANARY}",
    f"/v1/models/{CANARY}/",
    f"/v1/datasets/{CANARY}%00",
    f"/v1/jobs/{CANARY}",
    f"/v1/certificates/{CANARY}/proof",
    f"/v1/deletion-requests/{CANARY}",
    f"/v1/deletion-requests/{CANARY}:approve",
    f"/v1/deletion-requests/?external_id={CANARY}",
    f"/v1/deletion-requests?state={CANARY}",
    f"/v1/deletion-requests?limit={CANARY}",
    f"/v1/deletion-requests?cursor={CANARY}",
    f"/v1/deletion-requests?received_after={CANARY}",
    f"/v1/deletion-requests?external_id={CANARY}%00",
    f"/v1/jobs?kind={CANARY}",
    f"/v1/audit/entries?action={CANARY}",
    f"/v1/audit/proofs/inclusion?index={CANARY}",
]


def test_no_answer_and_no_log_line_repeats_what_was_sent(
    caller: TestClient, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [caller.post(path, json=body, headers=once()) for path, body in bodies()]
    answers += [caller.get(address) for address in ADDRESSES]
    answers += [caller.delete(f"/v1/api-keys/{CANARY}"), caller.post(f"/v1/deletion-requests/{CANARY}:{CANARY}")]
    answers += [
        caller.get("/v1/whoami", headers={"Authorization": f"Bearer {CANARY}"}),
        caller.post(f"/v1/deletion-requests/{CANARY}:cancel", headers={"If-Match": CANARY}),
        caller.post("/v1/deletion-requests", json=subject(1), headers={"Idempotency-Key": CANARY * 20}),
        caller.post("/v1/deletion-requests", content=f'{{"subject": "{CANARY}'.encode(), headers=json_type() | once()),
        caller.post("/v1/deletion-requests", content=f'"{CANARY}"'.encode(), headers=json_type() | once()),
        caller.post("/v1/deletion-requests", content=CANARY.encode(), headers={"Content-Type": CANARY} | once()),
        caller.post("/v1/datasets:upload", data={"name": CANARY, "schema": f'{{"{CANARY}": 1}}', CANARY: CANARY}),
        caller.post("/v1/datasets:upload", data={"name": "good", "schema": CANARY}, files={CANARY: CANARY.encode()}),
        caller.post("/v1/datasets:upload", content=CANARY.encode(), headers={"Content-Type": "multipart/form-data"}),
    ]
    told = capfd.readouterr()
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]  # a client's own
    spoken = told.out + told.err + "\n".join(ours)
    assert '"http"' in spoken or "http " in spoken, "requests are logged at all"
    for word in (CANARY, "canary.person", WORD):
        assert word not in spoken.casefold()
        for answer in answers:
            assert word not in (answer.text + repr(answer.headers)).casefold(), answer.text
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        problem(answer, answer.status_code, answer.json()["code"])


def json_type() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def test_a_field_that_does_not_fit_is_named_by_pointer(caller: TestClient) -> None:
    body = {"subject": {"identities": [{"identity_type": "EMAIL", WORD: 1}]}, WORD: 2}
    answer = caller.post("/v1/deletion-requests", json=body, headers=once())
    errors = problem(answer, 422, "invalid_body")["errors"]
    assert {(one["pointer"], one["code"]) for one in errors} == {
        ("/subject/identities/0/identity_type", "string_pattern_mismatch"),
        ("/subject/identities/0/identity_value", "missing"),
        ("/subject/identities/0/(unknown field)", "extra_forbidden"),
        ("/(unknown field)", "extra_forbidden"),
    }
    errors = problem(caller.get("/v1/jobs?limit=0"), 422, "invalid_body")["errors"]
    assert [one["pointer"] for one in errors] == ["/query/limit"]


def test_a_thousand_wrong_fields_are_counted_and_a_hundred_are_listed(caller: TestClient) -> None:
    body: dict[str, Any] = {"subject": {"identities": [{}] * 1000}}
    answer = problem(caller.post("/v1/deletion-requests", json=body, headers=once()), 422, "invalid_body")
    assert answer["detail"].startswith("2000 fields")
    assert len(answer["errors"]) == 100


@pytest.mark.parametrize("content", [b"", b"{", b"[[", b'{"subject": {}} x', b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_400(content: bytes, caller: TestClient) -> None:
    answer = caller.post("/v1/deletion-requests", content=content, headers=json_type() | once())
    if content:
        problem(answer, 400, "bad_input")
    else:
        problem(answer, 422, "invalid_body")


def test_a_body_that_is_not_json_is_415(caller: TestClient) -> None:
    answer = caller.post("/v1/deletion-requests", data={"subject": "x"}, headers=once())
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models:frobnicate"),
        ("POST", "/v1/deletion-requests:frobnicate"),
        ("POST", "/v1/deletion-requests/dr_1:frobnicate"),
        ("GET", "/v1/datasets:upload"),
        ("GET", "/nowhere"),
        ("GET", "/v1/models/"),
    ],
)
def test_an_unknown_verb_or_address_is_404(method: str, path: str, caller: TestClient) -> None:
    answer = caller.request(method, path, follow_redirects=False)
    problem(answer, 404, "not_found")
    assert "location" not in answer.headers


def test_a_known_address_under_another_method_is_405_and_says_which_it_takes(caller: TestClient) -> None:
    answer = caller.put("/v1/whoami")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_the_instance_shows_identifiers_of_ours_and_dashes_for_all_else(caller: TestClient) -> None:
    known = "dr_" + "0" * 26
    assert problem(caller.get(f"/v1/deletion-requests/{known}"), 404, "request_not_found")["instance"].endswith(known)
    assert problem(caller.get("/v1/models/name/nodes"), 404, "model_not_found")["instance"] == "/v1/models/-/nodes"


def test_a_body_beyond_the_limit_is_413_whether_it_says_so_or_not(caller: TestClient) -> None:
    def unsaid() -> Iterator[bytes]:
        for _ in range(LARGEST_BODY // (1 << 20) + 1):
            yield b" " * (1 << 20)

    said = b" " * (LARGEST_BODY + 1)
    for content in (said, unsaid()):
        answer = caller.post("/v1/deletion-requests", content=content, headers=json_type() | once())
        problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audit/proofs/inclusion?index=" + "9" * 30,
        "/v1/audit/proofs/inclusion?index=0&size=" + "9" * 30,
        "/v1/jobs?model=%00",
        "/v1/models/%00",
        "/v1/models/x/versions/" + "9" * 5000,
        "/v1/audit/entries?since=0001-01-01T00:00:00%2B14:00",
    ],
)
def test_a_value_that_the_database_cannot_hold_is_the_callers_mistake(path: str, caller: TestClient) -> None:
    assert caller.get(path).status_code in {200, 400, 404, 422}


def test_a_time_without_its_zone_is_refused(caller: TestClient) -> None:
    answer = caller.get("/v1/deletion-requests?received_after=2026-11-20T00:00:00")
    assert problem(answer, 422, "invalid_body")["errors"][0]["code"] == "timezone_aware"


@pytest.mark.parametrize("tag", ["x", '"', "9" * 5000, 'W/"1"', "²", "-1"])
def test_an_etag_that_is_none_of_ours_is_400(tag: str, caller: TestClient) -> None:
    headers = {b"If-Match": tag.encode()}
    problem(caller.post("/v1/deletion-requests/dr_1:cancel", headers=headers), 400, "bad_input")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError(CANARY, {"p": CANARY}, Exception(CANARY)), 503, "unavailable"),
        (DataError(CANARY, {"p": CANARY}, Exception(CANARY)), 400, "bad_input"),
        (RuntimeError(CANARY), 500, "unexpected"),
    ],
)
def test_errors_from_below_say_their_kind_and_no_more(
    error: Exception, status: int, code: str, doors: Doors, capfd: pytest.CaptureFixture[str]
) -> None:
    app = create_app(doors)

    def broken() -> None:
        raise error

    app.get("/broken")(broken)
    with TestClient(app) as http:
        answer = http.get("/broken")
    body = problem(answer, status, code)
    assert body["retryable"] is (status == 503)
    assert ("retry-after" in answer.headers) is (status == 503)
    told = capfd.readouterr()
    assert CANARY not in answer.text + told.out + told.err
    assert type(error).__name__ in told.out + told.err


def test_a_database_that_is_gone_is_503_and_nothing_hangs(doors: Doors, database_url: str) -> None:
    secret = key(doors)
    name = make_url(database_url).database
    with TestClient(create_app(doors), headers=bearer(secret)) as http:
        assert http.get("/v1/models").status_code == 200
        with psycopg.connect(sibling(database_url, "postgres"), autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            for path in ("/v1/models", "/readyz", "/v1/whoami"):
                problem(http.get(path), 503, "unavailable")
            assert http.get("/healthz").status_code == 200
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert http.get("/v1/models").status_code == 200
