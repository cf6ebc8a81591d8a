"""Stopping a training: at once while it waits, through its worker while it runs; a deletion is stopped by its request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from core.domain.job import JobEvent, Lane
from core.persistence import audit, job_questions, jobs
from core.persistence.jobs import RenewalAnswer
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.look_after import free_expired_jobs, give_back
from tests.integration import world
from tests.integration.callers import client, once, post_deletion, problem


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors) as opened:
        yield opened


@pytest.fixture
def build(doors: Doors) -> str:
    """The build job of a new model."""
    world.add_dataset(doors)
    model = world.add_model(doors)
    with doors.database.transaction() as session:
        (job,) = job_questions.list_jobs(session, DEFAULT_TENANT, limit=5, after=None, model_id=model)
    return str(job.id)


def test_a_waiting_job_ends_at_once_and_nobody_claims_it(doors: Doors, caller: TestClient, build: str) -> None:
    answer = caller.post(f"/v1/jobs/{build}:cancel")
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["error_code"]) == ("dead", "cancelled")
    assert world.compute(doors) == 0
    assert world.model_of(doors, "classifier")["state"] == "failed"
    problem(caller.post(f"/v1/jobs/{build}:cancel"), 409, "job_not_cancellable")


def test_a_running_job_is_stopped_through_its_worker(doors: Doors, caller: TestClient, build: str) -> None:
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=600)
    assert job is not None
    for _ in range(2):
        asked = caller.post(f"/v1/jobs/{build}:cancel").json()
        assert (asked["state"], asked["cancel_requested"]) == ("running", True)
    with doors.database.transaction() as session:
        assert jobs.renew(session, job.id, job.fence, 600) is RenewalAnswer.CANCELLED
        give_back(session, jobs.hold(session, job.id, job.fence), JobEvent.CANCELLED, "cancelled")
    found = caller.get(f"/v1/jobs/{build}").json()
    assert (found["state"], found["error_code"]) == ("dead", "cancelled")
    assert [one["outcome"] for one in found["attempts"]] == ["cancelled"]
    with doors.database.transaction() as session:
        entries = [one.action for one in audit.list_entries(session, DEFAULT_TENANT, limit=9, after=None, object=build)]
    assert entries == ["job.created", "job.claimed", "job.cancel_requested", "job.cancelled"]


def test_a_cancelled_job_whose_worker_died_is_not_tried_again(doors: Doors, caller: TestClient, build: str) -> None:
    with doors.database.transaction() as session:
        jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=600)
    caller.post(f"/v1/jobs/{build}:cancel")
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'"))
    assert free_expired_jobs(doors) == 1
    assert caller.get(f"/v1/jobs/{build}").json()["state"] == "dead"


def test_what_was_cancelled_is_trained_after_all_when_somebody_asks(
    doors: Doors, caller: TestClient, build: str
) -> None:
    caller.post(f"/v1/jobs/{build}:cancel")
    header = once()
    for replayed in (None, "true"):
        answer = caller.post("/v1/models/classifier:repair", headers=header)
        assert answer.status_code == 202
        assert answer.headers.get("idempotent-replayed") == replayed
    world.drain(doors)
    assert world.model_of(doors, "classifier")["state"] == "live"
    versions = caller.get("/v1/models/classifier/versions").json()["data"]
    caller.post("/v1/models/classifier:repair")
    world.drain(doors)
    assert caller.get("/v1/models/classifier/versions").json()["data"] == versions  # nothing was missing


def test_the_job_of_a_deletion_points_to_its_request(doors: Doors, caller: TestClient) -> None:
    world.built(doors, repair=False)
    receipt = post_deletion(caller, 5)
    refused = problem(caller.post(f"/v1/jobs/{receipt['jobs'][0]['id']}:cancel"), 409, "job_not_cancellable")
    assert "/v1/deletion-requests/{id}:cancel" in refused["detail"]
    assert caller.get(f"/v1/deletion-requests/{receipt['id']}").json()["state"] == "scheduled"


def test_cancelling_is_safe_to_repeat_with_a_key(caller: TestClient, build: str) -> None:
    header = once()
    first, again = (caller.post(f"/v1/jobs/{build}:cancel", headers=header) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    problem(caller.post("/v1/jobs/job_unknown:cancel", headers=header), 422, "idempotency_key_reused")


def test_an_unknown_job_is_not_found(caller: TestClient) -> None:
    problem(caller.post("/v1/jobs/job_unknown:cancel"), 404, "job_not_found")
    problem(caller.post("/v1/models/nobody:repair"), 404, "model_not_found")
