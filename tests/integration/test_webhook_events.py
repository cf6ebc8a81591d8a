"""Which events are written, what they say, and that nothing is written that did not happen or that nobody hears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select, text

from core.domain.deletion import RequestEvent, RequestState
from core.domain.job import JobEvent, Lane
from core.persistence import jobs, requests
from core.persistence.webhooks import webhook_deliveries, webhook_endpoints, webhook_events
from core.use_cases.answer_once import OnceKey
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.doors import Doors
from core.use_cases.look_after import give_back
from core.use_cases.manage_webhooks import Change, change_endpoint
from core.webhooks.event import EventType
from tests.integration import world
from tests.integration.callers import CANARY, OTHER_TENANT, client, key, once, service
from tests.integration.receiver import Receiver, receiving
from tests.integration.webhook_world import ALLOWED, EVERYTHING, count, deliver, hear

TYPES = tuple(EventType)
MOVES = ["received", "scheduled", "started", "influence_free", "completed"]


@pytest.fixture
def doors(server_url: str, template: str, tmp_path: Path) -> Iterator[Doors]:
    with service(server_url, template, tmp_path / "lethe", webhook_allowed=ALLOWED, max_attempts=1) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


def test_a_completed_deletion_is_told_in_few_words_and_signed(doors: Doors, receiver: Receiver) -> None:
    world.built(doors)
    endpoint = hear(doors, receiver.url)
    request = world.ask(doors, 3, external_id="case-3")["id"]
    world.drain(doors)
    assert deliver(doors) == 1
    [call] = receiver.calls
    call.signed_with(endpoint["secret"])
    assert call.headers["content-type"] == "application/cloudevents+json"
    shown = world.request_of(doors, request)
    certificates = [f"/v1/certificates/{one['id']}" for one in shown["certificates"]]
    assert call.event == {
        "specversion": "1.0",
        "id": call.name,
        "source": "http://127.0.0.1:8200",
        "type": "org.lethe.deletion_request.completed.v1",
        "subject": request,
        "time": call.event["time"],
        "datacontenttype": "application/json",
        "data": {
            "id": request,
            "object": "deletion_request",
            "state": "completed",
            "wait_reason": None,
            "result": "unlearned",
            "external_id": "case-3",
            "href": f"/v1/deletion-requests/{request}",
            "certificates": certificates[:1],
            "sequence": shown["row_version"],
        },
    }
    assert certificates
    with client(doors) as http:
        assert http.get(call.event["data"]["href"]).status_code == 200
        assert http.get(call.event["data"]["certificates"][0]).status_code == 200
    assert len(call.body) < 20_000


def test_every_move_is_told_once_with_a_growing_sequence(doors: Doors, receiver: Receiver) -> None:
    world.built(doors)
    hear(doors, receiver.url, *EVERYTHING)
    request = world.ask(doors, 3)["id"]
    world.drain(doors)
    deliver(doors)
    told = sorted(
        (event for event in receiver.events if event["subject"] == request), key=lambda one: one["data"]["sequence"]
    )
    assert [event["type"].split(".")[3] for event in told] == MOVES
    assert len({event["data"]["sequence"] for event in told}) == len(told)
    states = [event["data"]["state"] for event in told]
    assert states == ["received", "scheduled", "running", "verifying", "completed"]
    issued = [event for event in receiver.events if "certificate" in event["type"]]
    assert {event["data"]["guarantee"] for event in issued} == {"influence_free", "retrain_equivalent"}
    assert {event["data"]["request"] for event in issued} == {request}
    assert len({call.name for call in receiver.calls}) == len(receiver.calls)


def test_an_end_without_a_deletion_is_told_too(doors: Doors, receiver: Receiver) -> None:
    world.add_dataset(doors)
    world.add_model(doors, approval_required=True)
    hear(doors, receiver.url)
    nothing = OnceKey(route="decide", key=None, body=b"")
    denied, cancelled = world.ask(doors, 3)["id"], world.ask(doors, 4)["id"]
    decide_deletion(denied, Decision.DENY, caller=world.OTHER, once=nothing, doors=doors)
    decide_deletion(cancelled, Decision.CANCEL, caller=world.ADMIN, once=nothing, doors=doors)
    deliver(doors)
    told = {event["subject"]: event["data"]["state"] for event in receiver.events}
    assert told == {denied: "denied", cancelled: "cancelled"}


def test_a_job_that_gives_up_is_told_and_the_request_that_needs_a_person(doors: Doors, receiver: Receiver) -> None:
    world.built(doors)
    hear(doors, receiver.url, EventType.JOB_DEAD, EventType.DELETION_REQUEST_NEEDS_ATTENTION)
    request = world.ask(doors, 3)["id"]
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="test", lease=600)
        assert job is not None
        give_back(session, jobs.hold(session, job.id, job.fence), JobEvent.RETRY, "SealBroken")
    deliver(doors)
    told = {event["subject"]: event["data"] for event in receiver.events}
    assert told[job.id]["state"] == "dead"
    assert (told[job.id]["error_code"], told[job.id]["request"]) == ("SealBroken", request)
    assert (told[request]["state"], told[request]["wait_reason"]) == ("needs_attention", "job_dead")


def test_where_nobody_listens_nothing_is_written(doors: Doors, receiver: Receiver) -> None:
    world.built(doors)
    hear(doors, receiver.url, EventType.WEBHOOK_ENDPOINT_DISABLED)
    world.ask(doors, 3)
    world.drain(doors)
    assert count(doors, webhook_events) == count(doors, webhook_deliveries) == 0


def test_what_is_rolled_back_is_never_told(doors: Doors, receiver: Receiver) -> None:
    world.add_dataset(doors)
    hear(doors, receiver.url, *EVERYTHING)
    request = world.ask(doors, 3)["id"]
    before = count(doors, webhook_events)

    def cancel_and_fail() -> None:
        with doors.database.transaction() as session:
            requests.move_request(session, requests.lock_request(session, request), RequestEvent.CANCELLED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cancel_and_fail()
    with doors.database.transaction() as session:  # what the failed one had collected is not written by the next one
        session.execute(text("SELECT 1"))
    assert count(doors, webhook_events) == before
    assert world.request_of(doors, request)["state"] != RequestState.CANCELLED


def test_an_event_is_written_once_for_all_who_hear_it_and_for_no_other_tenant(doors: Doors, receiver: Receiver) -> None:
    world.add_dataset(doors)
    first, second = hear(doors, receiver.url, *EVERYTHING), hear(doors, receiver.url, TYPES[0])
    with client(doors) as http:
        stranger = {"Authorization": f"Bearer {key(doors, tenant=OTHER_TENANT)}"}
        theirs = http.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": list(TYPES)}, headers=stranger)
        assert theirs.status_code == 201
    world.ask(doors, 3)
    with doors.database.transaction() as session:
        question = "SELECT endpoint_id, count(*) AS events FROM webhook_deliveries GROUP BY 1"
        found = {row.endpoint_id: row.events for row in session.execute(text(question))}
    assert found == {first["id"]: 2, second["id"]: 1}
    assert count(doors, webhook_events) == 2


def test_what_happens_while_an_endpoint_is_disabled_reaches_it_later(doors: Doors, receiver: Receiver) -> None:
    world.add_dataset(doors)
    endpoint = hear(doors, receiver.url, TYPES[0])
    change_endpoint(endpoint["id"], Change(enabled=False), caller=world.ADMIN, doors=doors)
    request = world.ask(doors, 3)["id"]
    assert deliver(doors) == 0
    change_endpoint(endpoint["id"], Change(enabled=True), caller=world.ADMIN, doors=doors)
    assert deliver(doors) == 1
    assert [event["subject"] for event in receiver.events] == [request]


def test_no_identity_is_in_events_deliveries_or_logs(doors: Doors, receiver: Receiver) -> None:
    world.built(doors)
    hear(doors, receiver.url, *EVERYTHING)
    references: list[str] = []
    with client(doors) as http, structlog.testing.capture_logs() as logged:
        identities = [
            {"identity_type": "email", "identity_value": CANARY},
            {"identity_type": "email", "identity_value": world.address(3)},
        ]
        body = {"subject": {"identities": identities, "records": [{"dataset": "pictures", "record_ids": ["row-4-0"]}]}}
        receipt = http.post("/v1/deletion-requests", json=body, headers=once())
        assert receipt.status_code == 202, receipt.text
        references = receipt.json()["subject_references"]
        world.drain(doors)
        deliver(doors)
    assert len(receiver.calls) > 4
    written: list[Any] = [json.dumps(logged, default=str), *(str(call) for call in receiver.calls)]
    with doors.database.transaction() as session:
        for table in (webhook_events, webhook_deliveries, webhook_endpoints):
            written += [str(row) for row in session.execute(select(table))]
    everything = "\n".join(written)
    assert receipt.json()["id"] in everything
    assert any(line["event"] == "webhook.attempted" for line in logged)
    for secret in (CANARY, world.address(3), "row-4-0", *references):
        assert secret not in everything
    assert receiver.url not in json.dumps(logged, default=str)
