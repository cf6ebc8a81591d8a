"""What happens to the jobs of workers that died, and to those that die again and again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Row, text

from core.domain.errors import StaleFence, Unusable
from core.domain.job import Lane
from core.persistence import job_questions, jobs, models, nodes
from core.use_cases import look_after
from core.use_cases.check_consistency import check_consistency
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.finding import Severity
from core.use_cases.look_after import (
    destroy_abandoned_drafts,
    free_expired_jobs,
    give_back,
    sign_checkpoint_if_grown,
)
from core.use_cases.prepare_service import prepare_service
from core.use_cases.run_computation import run_computation
from tests.integration.world import ADMIN, NOTHING, OWNERS, ask, built, deactivate, drain, model_of, request_of
from tests.integration.world import compute as run_compute


def claimed(doors: Doors, lane: Lane) -> Row[Any]:
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=lane, worker="doomed", lease=60)
    assert job is not None
    return job


def expire(doors: Doors) -> None:
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'"))


def test_a_dead_workers_deletion_is_taken_over_and_the_dead_one_may_not_come_back(doors: Doors) -> None:
    built(doors, repair=False)
    receipt = ask(doors, 5)
    stale = claimed(doors, Lane.DEACTIVATE)
    expire(doors)
    assert free_expired_jobs(doors) == 1
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    with pytest.raises(StaleFence):
        deactivate_slices(stale, doors=doors)


def test_a_job_that_cannot_be_freed_keeps_no_other_from_it(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    built(doors, repair=False)
    asked = [ask(doors, owner)["jobs"][0]["id"] for owner in (5, 6)]
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET state = 'running', model_id = 'mdl_' || id WHERE state = 'waiting'"))
    expire(doors)

    def troubled(session: Any, job: Any, *words: Any, **more: Any) -> None:
        if job.id == min(asked):
            raise ValueError("a row that nobody foresaw")
        give_back(session, job, *words, **more)

    monkeypatch.setattr(look_after, "give_back", troubled)
    for _ in range(2):  # the next round tries it again
        with pytest.raises(ValueError, match="nobody foresaw"):
            free_expired_jobs(doors)
    with doors.database.transaction() as session:
        rows = session.execute(text("SELECT id, state FROM jobs WHERE id = ANY(:ids)"), {"ids": asked}).all()
    assert {row.id: row.state for row in rows} == {min(asked): "running", max(asked): "waiting"}


def test_looks_in_vain_do_not_pile_up_and_the_attempt_that_worked_stays(doors: Doors) -> None:
    built(doors, repair=False)
    ask(doors, 5)
    first = claimed(doors, Lane.DEACTIVATE)
    deactivate_slices(first, doors=doors)
    for look in range(5):
        with doors.database.transaction() as session:
            held = jobs.hold(session, first.id, first.fence + look)
            jobs.postpone(session, held, seconds=-1.0)
        claimed(doors, Lane.DEACTIVATE)
    with doors.database.transaction() as session:
        attempts = job_questions.attempts_of(session, first.id)
    assert [(one.fence - first.fence, one.outcome) for one in attempts] == [
        (0, "postponed"),
        (4, "postponed"),
        (5, None),
    ]


def test_a_dead_trainer_whose_successor_waits_is_freed_without_a_clash(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    deactivate(doors)
    claimed(doors, Lane.COMPUTE)
    ask(doors, *range(OWNERS))
    deactivate(doors)
    expire(doors)
    assert free_expired_jobs(doors) == 1
    drain(doors)
    assert model_of(doors, model)["serving"]["guarantee"] == "retrain_equivalent"


def test_a_trainer_that_was_replaced_commits_nothing(doors: Doors) -> None:
    built(doors)
    ask(doors, 5)
    deactivate(doors)
    stale = claimed(doors, Lane.COMPUTE)
    expire(doors)
    free_expired_jobs(doors)
    run_compute(doors)
    with pytest.raises(StaleFence):
        run_computation(stale.id, stale.fence, doors=doors)


def test_a_job_that_kills_every_worker_ends_dead(doors: Doors) -> None:
    built(doors)
    ask(doors, 5)
    deactivate(doors)
    for _ in range(doors.settings.max_attempts):
        with doors.database.transaction() as session:
            session.execute(text("UPDATE jobs SET run_after = clock_timestamp()"))
        job = claimed(doors, Lane.COMPUTE)
        expire(doors)
        free_expired_jobs(doors)
    assert run_compute(doors) == 0
    with doors.database.transaction() as session:
        ended = job_questions.find_job(session, job.tenant_id, job.id)
    assert ended is not None
    assert ended.state == "dead"


def test_a_checkpoint_is_signed_only_when_the_log_grew(doors: Doors) -> None:
    assert sign_checkpoint_if_grown(doors)
    assert not sign_checkpoint_if_grown(doors)


def test_a_deletion_that_gave_up_needs_attention_and_is_retried_by_a_person(doors: Doors) -> None:
    built(doors, repair=False)
    receipt = ask(doors, 5)
    for _ in range(doors.settings.max_attempts):
        with doors.database.transaction() as session:
            session.execute(text("UPDATE jobs SET run_after = clock_timestamp()"))
        claimed(doors, Lane.DEACTIVATE)
        expire(doors)
        free_expired_jobs(doors)
    troubled = request_of(doors, receipt["id"])
    assert (troubled["state"], troubled["wait_reason"]) == ("needs_attention", "job_dead")
    decide_deletion(receipt["id"], Decision.RETRY, caller=ADMIN, once=NOTHING, doors=doors)
    drain(doors)
    assert request_of(doors, receipt["id"])["state"] == "completed"
    # The job that gave up stays in the books, and is no flaw: the one that came after it is done.
    assert [one for one in check_consistency(doors) if one.severity is Severity.ERROR] == []


def test_a_lost_key_store_is_noticed_at_the_start_and_not_replaced(doors: Doors) -> None:
    doors.keys.destroy([f"tenant_{DEFAULT_TENANT}"])
    with pytest.raises(Unusable, match="restore the key store"):
        prepare_service(doors)


def test_a_node_sealed_by_a_worker_that_died_before_committing_it_dies_with_the_deletion(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    deactivate(doors)
    job = claimed(doors, Lane.COMPUTE)
    shard = int(job.subject.rpartition("/")[2])
    # What a runner leaves behind that is killed between sealing a node and committing it.
    keys = {number: f"nod_left_behind_{number}" for number in range(3)}
    for number, key in keys.items():
        doors.put_sealed(key, b"tensors")
        draft = {"tenant_id": job.tenant_id, "data_key_id": key, "model_id": model, "shard": shard}
        with doors.database.transaction() as session:
            nodes.add_draft(session, **draft, slices=[number], job_id=job.id, fence=job.fence)
    receipt = ask(doors, 6, 14)  # one of them in the shard at work
    deactivate(doors)
    struck = {row.slice for row in graves_of(doors, model, receipt["id"]) if row.shard == shard}
    assert struck == {0}
    assert {number for number, key in keys.items() if not doors.keys.exists(key)} == struck
    assert destroy_abandoned_drafts(doors) == 0  # its worker may still be alive
    expire(doors)
    free_expired_jobs(doors)
    assert destroy_abandoned_drafts(doors) == 3
    assert not any(doors.keys.exists(key) for key in keys.values())


def graves_of(doors: Doors, model: str, request: str) -> list[Row[Any]]:
    with doors.database.transaction() as session:
        return models.tombstones_of(session, model, request)
