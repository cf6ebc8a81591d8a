"""Claims, renewals and hand-backs: who gets which job, how long they keep it, and what they leave behind."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Row, text

from core.domain.errors import StaleFence
from core.domain.identifiers import new_identifier
from core.domain.job import JobEvent, JobKind, JobState, Lane
from core.persistence import audit, jobs
from core.persistence.jobs import RenewalAnswer
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.look_after import give_back
from core.use_cases.read_jobs import read_job
from tests.integration.world import ADMIN, add_dataset, add_model, ask, built, request_of


@pytest.fixture
def model(doors: Doors) -> str:
    """A model whose own build job is out of the way."""
    add_dataset(doors)
    model = add_model(doors)
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET run_after = 'infinity'"))
    return model


def add(doors: Doors, model: str, subject: str, *, priority: int = 0, after: float = -1.0) -> str:
    name = new_identifier("job")
    with doors.database.transaction() as session:
        jobs.add_job(
            session,
            tenant_id=DEFAULT_TENANT,
            id=name,
            kind=JobKind.TRAIN_NODE,
            subject=f"{model}/{subject}",
            model_id=model,
            priority=priority,
            max_attempts=3,
            run_after=jobs.soon(after),
        )
    return name


def take(doors: Doors, **hints: Any) -> Row[Any] | None:
    with doors.database.transaction() as session:
        return jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60, **hints)


def taken(doors: Doors, **hints: Any) -> Row[Any]:
    job = take(doors, **hints)
    assert job is not None
    return job


def look(doors: Doors, job: Row[Any]) -> dict[str, Any]:
    return read_job(job.id, caller=ADMIN, doors=doors)


def test_of_equally_urgent_jobs_the_one_that_was_rung_for_goes_first_then_those_near(doors: Doors, model: str) -> None:
    oldest, near, rung = (add(doors, model, subject) for subject in ("0/a", "1/b", "2/c"))
    assert taken(doors, job_id=rung, near=f"{model}/1/").id == rung
    assert taken(doors, job_id=rung, near=f"{model}/1/").id == near  # what the bell named is at work already
    assert taken(doors, near=f"{model}/1/").id == oldest


def test_an_urgent_job_goes_before_every_hint(doors: Doors, model: str) -> None:
    rung = add(doors, model, "0/a")
    urgent = add(doors, model, "1/b", priority=1)
    assert taken(doors, job_id=rung, near=f"{model}/0/").id == urgent


def test_a_hint_is_a_prefix_to_the_letter(doors: Doors, model: str) -> None:
    first = add(doors, model, "1_/a")
    add(doors, model, "12/b")
    assert taken(doors, near=f"{model}/1_/").id == first
    # An underscore is no wildcard: nothing is near, so the oldest goes first.
    older, _ = add(doors, model, "3/c", after=-9.0), add(doors, model, "45/d")
    assert taken(doors, near=f"{model}/4_/").id == older


def test_a_renewal_says_whether_the_lease_is_kept_lost_wanted_back_or_over(doors: Doors, model: str) -> None:
    add(doors, model, "0/a")
    job = taken(doors)
    with doors.database.transaction() as session:
        assert jobs.renew(session, job.id, job.fence, 60) is RenewalAnswer.KEPT
        assert jobs.renew(session, job.id, job.fence - 1, 60) is RenewalAnswer.LOST
        jobs.request_cancel(session, jobs.hold(session, job.id, job.fence))
        assert jobs.renew(session, job.id, job.fence, 60) is RenewalAnswer.CANCELLED
        jobs.move(session, job, JobEvent.CONCLUDED)
        assert jobs.renew(session, job.id, job.fence, 60) is RenewalAnswer.ENDED
        assert jobs.renew(session, job.id, job.fence - 1, 60) is RenewalAnswer.LOST


def test_a_job_that_is_handed_back_waits_at_once_and_its_attempt_does_not_count(doors: Doors, model: str) -> None:
    add(doors, model, "0/a")
    job = taken(doors)
    for _ in range(job.max_attempts + 1):
        with doors.database.transaction() as session:
            jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
        assert (look(doors, job)["state"], look(doors, job)["attempt"]) == (JobState.WAITING, 0)
        with doors.database.transaction() as session, pytest.raises(StaleFence):
            jobs.hold(session, job.id, job.fence)
        job = taken(doors)
    assert job.attempt == 1
    with doors.database.transaction() as session:
        entries = audit.list_entries(session, DEFAULT_TENANT, limit=50, after=None, object=job.id)
    assert [entry.action for entry in entries].count("job.handed_back") == job.max_attempts + 1
    assert {one["outcome"] for one in look(doors, job)["attempts"]} == {"handed_back", None}


def test_a_handed_back_job_that_was_superseded_or_cancelled_meanwhile_ends(doors: Doors, model: str) -> None:
    add(doors, model, "0/a")
    job = taken(doors)
    add(doors, model, "0/a")
    with doors.database.transaction() as session:
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
    assert (look(doors, job)["state"], look(doors, job)["error_code"]) == (JobState.DONE, jobs.SUPERSEDED)
    job = taken(doors)
    with doors.database.transaction() as session:
        jobs.request_cancel(session, jobs.hold(session, job.id, job.fence))
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
    assert (look(doors, job)["state"], look(doors, job)["error_code"]) == (JobState.DEAD, jobs.CANCELLED)


def test_a_verifying_deletion_that_is_handed_back_is_anybodys_at_once(doors: Doors) -> None:
    from core.use_cases.deactivate_slices import deactivate_slices

    built(doors, repair=False)
    receipt = ask(doors, 5)
    for worker in ("first", "second"):
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.DEACTIVATE, worker=worker, lease=60)
        assert job is not None
        assert job.worker == worker
        if job.state == JobState.RUNNING:
            deactivate_slices(job, doors=doors)
            with doors.database.transaction() as session:
                jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
        else:
            assert worker == "second"
    assert request_of(doors, receipt["id"])["state"] == "verifying"


def test_every_attempt_says_what_it_died_of(doors: Doors, model: str) -> None:
    add(doors, model, "0/a")
    causes = ["killed_by_signal_9", "exit_3", "lease_lost"]
    for cause in causes:
        with doors.database.transaction() as session:
            session.execute(text("UPDATE jobs SET run_after = clock_timestamp() WHERE kind = 'train_node'"))
        job = taken(doors)
        assert job.error_code is None  # what the attempt before died of stands with that attempt
        with doors.database.transaction() as session:
            held = jobs.hold(session, job.id, job.fence)
            give_back(session, held, JobEvent.RETRY, cause, peak_memory_bytes=7)
    found = look(doors, job)
    assert [one["error_code"] for one in found["attempts"]] == causes
    assert [one["outcome"] for one in found["attempts"]] == ["retry", "retry", "gave_up"]
    assert all(one["seconds"] >= 0 and one["peak_memory_bytes"] == 7 for one in found["attempts"])
    assert (found["state"], found["error_code"]) == (JobState.DEAD, "lease_lost")


def test_what_an_attempt_says_of_its_own_death_counts_more_than_what_its_worker_saw(doors: Doors, model: str) -> None:
    add(doors, model, "0/a")
    job = taken(doors)
    with doors.database.transaction() as session:
        jobs.confess(session, job.id, job.fence - 1, "NotMine", 1)
        jobs.confess(session, job.id, job.fence, "ValueError", 42)
        give_back(session, jobs.hold(session, job.id, job.fence), JobEvent.RETRY, "exit_1")
    assert look(doors, job)["attempts"] == [
        look(doors, job)["attempts"][0] | {"error_code": "ValueError", "peak_memory_bytes": 42, "outcome": "retry"}
    ]


def test_the_queues_are_named_after_what_their_workers_need() -> None:
    assert {lane: lane.queue for lane in Lane} == {Lane.DEACTIVATE: "cpu", Lane.COMPUTE: "gpu"}
