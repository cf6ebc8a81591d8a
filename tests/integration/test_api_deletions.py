"""Deletion requests over HTTP: once per Idempotency-Key, decided about as seen, and followed to the certificate."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from core.audit.verify import verify_certificate
from core.domain.access import Scope
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import bearer, client, key, once, post_deletion, problem, service, subject


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("deletions")) as found:
        world.built(found)
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


@pytest.fixture(scope="module")
def careful(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client of a service where two persons decide."""
    directory = tmp_path_factory.mktemp("careful")
    with service(server_url, template, directory, approval_required=True) as found:
        world.add_dataset(found)
        world.add_model(found)
        with client(found) as http:
            http.headers["Second-Person"] = key(found, Scope.REQUESTS_APPROVE)
            yield http


def second(careful: TestClient) -> dict[str, str]:
    return bearer(careful.headers["Second-Person"])


def test_a_request_goes_from_receipt_to_a_certificate_that_verifies_with_what_is_served(
    caller: TestClient, opened: Doors
) -> None:
    answer = caller.post("/v1/deletion-requests", json=subject(5) | {"external_id": "case-5"}, headers=once())
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    assert answer.headers["location"] == f"/v1/deletion-requests/{receipt['id']}"
    assert answer.headers["etag"] == f'"{receipt["row_version"]}"'
    assert (receipt["state"], receipt["records"]) == ("scheduled", world.ROWS_EACH)
    entry = caller.get("/v1/audit/entries", params={"object": receipt["id"]}).json()["data"][0]
    assert entry["index"] == receipt["receipt"]["index"]
    assert entry["entry"]["action"] == "deletion_request.received"
    world.drain(opened)
    done = caller.get(answer.headers["location"])
    assert done.headers["etag"] == f'"{done.json()["row_version"]}"'
    assert (done.json()["state"], done.json()["result"]) == ("completed", "unlearned")
    keys = caller.get("/.well-known/lethe.vkey", headers={"Authorization": ""}).text.split()
    for one in done.json()["certificates"]:
        envelope = caller.get(f"/v1/certificates/{one['id']}")
        assert envelope.headers["content-type"] == "application/vnd.dsse.envelope.v1+json"
        proof = caller.get(f"/v1/certificates/{one['id']}/proof").text
        assert verify_certificate(envelope.content, proof, keys).failures == []
    assert world.address(5) not in answer.text + done.text


def test_a_request_needs_an_idempotency_key(caller: TestClient) -> None:
    problem(caller.post("/v1/deletion-requests", json=subject(6)), 400, "idempotency_key_required")
    for bad in ("", '""', "x" * 256, b"\x7f"):
        headers = {b"Idempotency-Key": bad.encode() if isinstance(bad, str) else bad}
        problem(caller.post("/v1/deletion-requests", json=subject(6), headers=headers), 400, "bad_input")


def test_a_repeat_gets_the_first_answer_and_another_body_is_refused(caller: TestClient, opened: Doors) -> None:
    headers = {"Idempotency-Key": '"case-6"'}
    first = caller.post("/v1/deletion-requests", json=subject(6), headers=headers)
    assert "idempotent-replayed" not in first.headers
    world.drain(opened)
    for spelled in ('"case-6"', "case-6"):
        again = caller.post("/v1/deletion-requests", json=subject(6), headers={"Idempotency-Key": spelled})
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["location"] == first.headers["location"]
    problem(caller.post("/v1/deletion-requests", json=subject(7), headers=headers), 422, "idempotency_key_reused")
    other = bearer(key(opened)) | headers
    assert caller.post("/v1/deletion-requests", json=subject(6), headers=other).json()["id"] != first.json()["id"]


def test_fifty_callers_at_once_with_one_key_make_one_request(caller: TestClient) -> None:
    headers = {"Idempotency-Key": "fifty"}
    with ThreadPoolExecutor(50) as pool:
        sent = [pool.submit(caller.post, "/v1/deletion-requests", json=subject(8), headers=headers) for _ in range(50)]
        answers = [one.result() for one in sent]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1


def test_at_once_with_one_external_id_one_is_accepted_and_the_others_conflict(caller: TestClient) -> None:
    body = subject(9) | {"external_id": "only-one"}
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(caller.post, "/v1/deletion-requests", json=body, headers=once()) for _ in range(8)]
        answers = [one.result() for one in sent]
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, answer.json()["code"])


def test_a_refused_request_leaves_its_key_free(caller: TestClient) -> None:
    headers = once()
    problem(caller.post("/v1/deletion-requests", json=subject(), headers=headers), 422, "subject_missing")
    assert caller.post("/v1/deletion-requests", json=subject(10), headers=headers).status_code == 202


def test_a_preview_changes_nothing(caller: TestClient) -> None:
    before = caller.get("/v1/models/classifier").json(), caller.get("/v1/audit/checkpoint").text
    looked = caller.post("/v1/deletion-requests:preview", json=subject(11))
    assert looked.status_code == 200
    assert looked.json()["models"][0]["nodes_switched_off"] > 0
    assert (caller.get("/v1/models/classifier").json(), caller.get("/v1/audit/checkpoint").text) == before


def test_decisions_are_about_what_was_seen(careful: TestClient) -> None:
    receipt = post_deletion(careful, 1)
    address = f"/v1/deletion-requests/{receipt['id']}"
    assert (receipt["state"], receipt["wait_reason"]) == ("pending_approval", "approval")
    seen = careful.get(address).headers["etag"]
    stale = second(careful) | {"If-Match": '"999"'}
    problem(careful.post(f"{address}:approve", headers=stale), 412, "stale_row_version")
    problem(careful.post(f"{address}:approve", headers={"If-Match": seen}), 403, "approver_is_requester")
    approved = careful.post(f"{address}:approve", headers=second(careful) | {"If-Match": seen})
    assert (approved.status_code, approved.json()["state"]) == (200, "scheduled")
    assert approved.headers["etag"] == careful.get(address).headers["etag"] != seen
    problem(careful.post(f"{address}:deny", headers=second(careful) | {"If-Match": seen}), 412, "stale_row_version")
    problem(careful.post(f"{address}:deny", headers=second(careful)), 409, "illegal_move")


def test_denying_and_cancelling_end_a_request_for_good(careful: TestClient) -> None:
    denied, cancelled = (f"/v1/deletion-requests/{post_deletion(careful, owner)['id']}" for owner in (2, 3))
    assert careful.post(f"{denied}:deny", headers=second(careful)).json()["state"] == "denied"
    assert careful.post(f"{cancelled}:cancel").json()["state"] == "cancelled"
    problem(careful.post(f"{denied}:cancel"), 409, "request_not_cancellable")
    problem(careful.post(f"{cancelled}:approve", headers=second(careful)), 409, "illegal_move")


def test_many_records_fit_in_one_request(caller: TestClient) -> None:
    records = [{"dataset": "pictures", "record_ids": [f"row-{number}-0" for number in range(100_000)]}]
    answer = caller.post("/v1/deletion-requests:preview", json={"subject": {"records": records}})
    assert answer.status_code == 200
    assert answer.json()["records"] > 0
