"""Webhook endpoints over HTTP: a secret once, refusals that repeat nothing, lists in pages, and other tenants' nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from api.schemas.webhooks import CloudEvent, EndpointBody, NewWebhookEndpoint, WebhookDelivery, WebhookEndpoint
from core.domain.access import Scope
from core.use_cases import manage_webhooks
from core.use_cases.check_stores import check_stores, sweep_orphans
from core.use_cases.doors import Doors
from core.webhooks.event import DEFAULT_TYPES
from tests.integration.callers import OTHER_TENANT, bearer, client, key, problem, service
from tests.integration.receiver import Receiver, receiving
from tests.integration.test_api_documentation import unknown
from tests.integration.test_api_lists import names, pages
from tests.integration.webhook_world import ALLOWED, deliver, endpoint_row

ENDPOINTS = "/v1/webhook-endpoints"


@pytest.fixture
def doors(server_url: str, template: str, tmp_path: Path) -> Iterator[Doors]:
    with service(server_url, template, tmp_path / "lethe", webhook_allowed=ALLOWED) as opened:
        yield opened


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


def make(caller: TestClient, url: str = "https://93.184.216.34/hook", **more: Any) -> dict[str, Any]:
    answer = caller.post(ENDPOINTS, json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{ENDPOINTS}/{made['id']}"
    assert answer.headers["etag"] == f'"{made["row_version"]}"'
    return made


def fits(body: dict[str, Any], model: Any) -> None:
    model.model_validate(body)
    assert list(unknown(body, model)) == []
    assert set(model.model_fields) <= set(body)


def test_a_secret_is_shown_once_and_is_nowhere_in_the_database(caller: TestClient, doors: Doors) -> None:
    made = make(caller, description="governance")
    fits(made, NewWebhookEndpoint)
    assert made["types"] == list(DEFAULT_TYPES)
    found = caller.get(f"{ENDPOINTS}/{made['id']}")
    fits(found.json(), WebhookEndpoint)
    assert found.json() == {name: value for name, value in made.items() if name != "secret"}
    rotated = caller.post(f"{ENDPOINTS}/{made['id']}:rotate-secret").json()
    fits(rotated, NewWebhookEndpoint)
    with doors.database.transaction() as session:
        tables = ("webhook_endpoints", "idempotency_keys", "audit_entries")
        dump = "".join(
            str(row)
            for table in tables
            for row in session.execute(text(f"SELECT to_jsonb(t) FROM {table} t"))  # noqa: S608
        )
    assert made["id"] in dump
    for secret in (made["secret"], rotated["secret"]):
        raw = secret.removeprefix("whsec_")
        assert raw not in dump
        assert raw not in caller.get(ENDPOINTS).text


def test_everything_that_is_done_to_an_endpoint_is_logged_without_its_url(caller: TestClient) -> None:
    made = make(caller)
    address = f"{ENDPOINTS}/{made['id']}"
    caller.patch(address, json={"types": ["job.dead"]})
    caller.patch(address, json={"enabled": False})
    caller.patch(address, json={"enabled": True})
    caller.post(f"{address}:rotate-secret")
    caller.delete(address)
    entries = caller.get("/v1/audit/entries", params={"object": made["id"]})
    told = [(one["entry"]["action"].partition(".")[2], one["entry"]["to"]) for one in entries.json()["data"]]
    assert told == [
        ("created", "enabled"),
        ("changed", "enabled"),
        ("disabled", "disabled"),
        ("enabled", "enabled"),
        ("secret_rotated", "enabled"),
        ("deleted", "deleted"),
    ]
    assert "93.184" not in entries.text


@pytest.mark.parametrize(
    "url",
    [
        "https://10.11.12.13/token-9f3a",
        "https://[::1]/token-9f3a",
        "https://2130706433/token-9f3a",
        "https://user:token-9f3a@93.184.216.34/",
        "http://93.184.216.34/token-9f3a",
        "ftp://93.184.216.34/token-9f3a",
        "token-9f3a",
    ],
)
def test_a_refused_address_is_a_sentence_that_repeats_nothing(caller: TestClient, url: str) -> None:
    answer = caller.post(ENDPOINTS, json={"url": url})
    problem(answer, 422, "address_refused")
    assert "token-9f3a" not in answer.text
    assert caller.get(ENDPOINTS).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://93.184.216.34/", "types": []},
        {"url": "https://93.184.216.34/", "types": ["webhook_endpoint.test"]},
        {"url": "https://93.184.216.34/", "types": ["made.up"]},
        {"url": "https://93.184.216.34/", "description": "a@example.org"},
        {"url": "https://93.184.216.34/", "secret": "whsec_mine"},
        {"url": "https://93.184.216.34/" + "x" * 2000},
    ],
)
def test_a_body_that_does_not_fit_is_refused(caller: TestClient, body: dict[str, Any]) -> None:
    problem(caller.post(ENDPOINTS, json=body), 422, "invalid_body")


def test_no_key_is_left_behind_by_what_was_refused(
    caller: TestClient, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage_webhooks, "MOST_ENDPOINTS", 2)
    made = [make(caller), make(caller)]
    problem(caller.post(ENDPOINTS, json={"url": "https://93.184.216.34/"}), 409, "too_many_webhook_endpoints")
    stale = caller.post(f"{ENDPOINTS}/{made[0]['id']}:rotate-secret", headers={"If-Match": '"9"'})
    problem(stale, 412, "stale_row_version")
    problem(caller.post(f"{ENDPOINTS}/we_none:rotate-secret"), 404, "webhook_endpoint_not_found")
    wanted = {endpoint_row(doors, one).secret_key_id for one in made}
    assert {name for name in doors.keys.list_ids("whk_")} == wanted  # noqa: C416 - a set of an iterator


def test_a_change_about_something_older_is_refused(caller: TestClient) -> None:
    made = make(caller)
    address = f"{ENDPOINTS}/{made['id']}"
    tag = caller.get(address).headers["etag"]
    changed = caller.patch(address, json={"types": ["job.dead"], "description": "jobs"}, headers={"If-Match": tag})
    assert (changed.json()["types"], changed.json()["description"]) == (["job.dead"], "jobs")
    assert changed.headers["etag"] != tag
    problem(caller.patch(address, json={"enabled": False}, headers={"If-Match": tag}), 412, "stale_row_version")
    assert caller.patch(address, json={"description": ""}).json()["description"] is None
    assert caller.patch(address, json={}).json()["types"] == ["job.dead"]


def test_a_test_event_is_delivered_listed_and_sent_again(caller: TestClient, doors: Doors, receiver: Receiver) -> None:
    made = make(caller, receiver.url)
    address = f"{ENDPOINTS}/{made['id']}"
    sent = caller.post(f"{address}:test")
    assert sent.status_code == 202
    fits(sent.json(), WebhookDelivery)
    deliver(doors)
    CloudEvent.model_validate(receiver.calls[0].event)
    assert list(unknown({k: v for k, v in receiver.calls[0].event.items() if k != "data"}, CloudEvent)) == []
    [listed] = caller.get(f"{address}/deliveries", params={"state": "succeeded"}).json()["data"]
    fits(listed, WebhookDelivery)
    assert (listed["id"], listed["last_status"], listed["next_at"]) == (sent.json()["id"], 204, None)
    assert listed["event"]["id"] == receiver.calls[0].name
    assert caller.get(f"{address}/deliveries", params={"state": "waiting"}).json()["data"] == []
    again = caller.post(f"/v1/webhook-deliveries/{listed['id']}:resend")
    assert (again.status_code, again.json()["state"]) == (202, "waiting")
    deliver(doors)
    assert [call.name for call in receiver.calls] == [listed["event"]["id"]] * 2
    for where in (f"{address}:test", f"/v1/webhook-deliveries/{listed['id']}:resend"):
        first, repeat = (caller.post(where, headers={"Idempotency-Key": "once"}) for _ in range(2))
        assert (repeat.status_code, repeat.json()) == (202, first.json())
        assert repeat.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
    reused = caller.post(f"{ENDPOINTS}/{make(caller, receiver.url)['id']}:test", headers={"Idempotency-Key": "once"})
    problem(reused, 422, "idempotency_key_reused")
    deliver(doors)
    assert len(receiver.calls) == 4, "each of the two once more, however often it was asked for"
    caller.patch(address, json={"enabled": False})
    problem(caller.post(f"{address}:test"), 409, "webhook_endpoint_disabled")
    problem(caller.post(f"/v1/webhook-deliveries/{listed['id']}:resend"), 409, "webhook_endpoint_disabled")
    assert caller.delete(address).status_code == 204
    problem(caller.delete(address), 404, "webhook_endpoint_not_found")
    problem(caller.post(f"/v1/webhook-deliveries/{listed['id']}:resend"), 404, "webhook_delivery_not_found")


def test_lists_come_in_pages(caller: TestClient) -> None:
    made = [make(caller)["id"] for _ in range(5)]
    address = f"{ENDPOINTS}/{made[0]}/deliveries"
    sent = [caller.post(f"{ENDPOINTS}/{made[0]}:test").json()["id"] for _ in range(5)]
    for place, newest in ((ENDPOINTS, sorted(made, reverse=True)), (address, sorted(sent, reverse=True))):
        assert names([row for part in pages(caller, place, 2) for row in part]) == newest
    cursor = caller.get(address, params={"limit": 1}).json()["next_cursor"]
    other = f"{ENDPOINTS}/{made[1]}/deliveries"
    problem(caller.get(other, params={"cursor": cursor}), 400, "cursor_unusable")
    problem(caller.get(address, params={"cursor": cursor, "state": "waiting"}), 400, "cursor_unusable")


def test_another_tenants_endpoints_do_not_exist(caller: TestClient, doors: Doors) -> None:
    made = make(caller)
    delivery = caller.post(f"{ENDPOINTS}/{made['id']}:test").json()["id"]
    stranger = bearer(key(doors, tenant=OTHER_TENANT))
    address = f"{ENDPOINTS}/{made['id']}"
    assert caller.get(ENDPOINTS, headers=stranger).json()["data"] == []
    for method, place, body in (
        ("GET", address, None),
        ("PATCH", address, {"enabled": False}),
        ("DELETE", address, None),
        ("GET", f"{address}/deliveries", None),
        ("POST", f"{address}:rotate-secret", None),
        ("POST", f"{address}:test", None),
    ):
        answer = caller.request(method, place, json=body, headers=stranger)
        problem(answer, 404, "webhook_endpoint_not_found")
    problem(
        caller.post(f"/v1/webhook-deliveries/{delivery}:resend", headers=stranger), 404, "webhook_delivery_not_found"
    )
    assert caller.get(address).json()["enabled"] is True


def test_whoever_may_only_read_sees_no_secret_and_changes_nothing(caller: TestClient, doors: Doors) -> None:
    made = make(caller)
    reader = bearer(key(doors, Scope.WEBHOOKS_READ))
    assert "secret" not in caller.get(f"{ENDPOINTS}/{made['id']}", headers=reader).json()
    problem(caller.post(f"{ENDPOINTS}/{made['id']}:rotate-secret", headers=reader), 403, "forbidden")


def test_the_document_describes_the_call_that_comes_back(caller: TestClient) -> None:
    document = caller.get("/openapi.json").json()
    [operation] = [methods["post"] for methods in document["webhooks"].values()]
    [(kind, content)] = operation["requestBody"]["content"].items()
    assert kind == "application/cloudevents+json"
    assert content["schema"]["$ref"].endswith("/CloudEvent")
    headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
    assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    for example in EndpointBody.model_json_schema()["examples"]:
        EndpointBody.model_validate(example)
    for example in CloudEvent.model_json_schema()["examples"]:
        CloudEvent.model_validate(example)


def test_a_secret_in_use_is_no_orphan_and_survives_a_sweep(caller: TestClient, doors: Doors) -> None:
    made = make(caller)
    caller.post(f"{ENDPOINTS}/{made['id']}:rotate-secret")
    row = endpoint_row(doors, made)
    with doors.database.transaction() as session:
        found = {finding.object for finding in check_stores(session, doors)}
    assert found.isdisjoint({row.secret_key_id, row.previous_key_id})
    sweep_orphans(doors)
    assert doors.keys.exists(row.secret_key_id)
    doors.keys.destroy([row.secret_key_id])
    with doors.database.transaction() as session:
        found = {finding.object for finding in check_stores(session, doors)}
    assert row.secret_key_id in found, "a lost secret is found"
