"""Deletions that meet training, registration, other deletions and themselves half-way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from core.audit.verify import verify_certificate
from core.domain import errors
from core.domain.job import Lane
from core.domain.references import owner_reference
from core.lattice.placement import place
from core.persistence import jobs, models, requests
from core.use_cases.decide_deletion import Decision, decide_deletion
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.ingest_lock import take_ingest_lock
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.run_computation import run_computation
from core.use_cases.shard_plan import read_plan
from tests.integration.world import (
    ADMIN,
    NOTHING,
    OTHER,
    OWNERS,
    PLACEMENT_KEY,
    ROWS_EACH,
    add_dataset,
    add_model,
    address,
    ask,
    built,
    deactivate,
    drain,
    model_of,
    request_of,
    serving,
)


def place_of(doors: Doors, owner: int) -> tuple[int, int]:
    reference = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(owner))
    where = place(PLACEMENT_KEY, reference, shards=2, slices=3)
    return where.shard, where.slice


def test_fifty_threads_with_one_idempotency_key_make_one_request(doors: Doors) -> None:
    built(doors)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(doors, 5, key="the-one"), range(50)))
    assert all(answer == answers[0] for answer in answers)
    with doors.database.transaction() as session:
        assert len(session.execute(select(requests.requests)).all()) == 1
        assert len(session.execute(select(jobs.jobs).where(jobs.jobs.c.kind == "deactivate")).all()) == 1


def test_training_that_a_deletion_overtook_commits_nothing_it_learned(doors: Doors) -> None:
    model = built(doors)
    shard, number = place_of(doors, 5)
    ask(doors, next(o for o in range(OWNERS) if o != 5 and place_of(doors, o) == (shard, number)))
    deactivate(doors)
    with doors.database.transaction() as session:
        plan = read_plan(session, doors, model, shard)
    ask(doors, 5)
    deactivate(doors)
    first, rest = plan.steps()
    spec = next(spec for spec in first + rest if number in spec.slices)
    with doors.database.transaction() as session:
        assert plan.refreshed(session) is None
        with pytest.raises(errors.OvertakenByDeletion):
            plan.refuse_overtaken(session, spec.slices)
        plan.refuse_overtaken(session, [other for other in range(3) if other != number])
    drain(doors)
    members = set()
    with doors.database.transaction() as session:
        for row in models.members(session, models.get_model(session, model)):
            members.add(bytes(row.owner))
    assert owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(5)) not in members
    assert model_of(doors, model)["serving"]["guarantee"] == "retrain_equivalent"


def test_a_model_registered_while_a_deletion_is_under_way_forgets_too(doors: Doors) -> None:
    built(doors)
    receipt = ask(doors, 5)
    late = add_model(doors, "late")
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert done["state"] == "completed"
    assert {one["model"] for one in done["jobs"]} >= {late}
    assert model_of(doors, late)["deleted_records"] == ROWS_EACH


def test_a_deletion_during_the_first_build_is_certified_by_the_version_that_comes_of_it(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors, repair=False)
    receipt = ask(doors, 5)
    deactivate(doors)
    assert request_of(doors, receipt["id"])["state"] == "verifying"
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert (done["state"], done["result"]) == ("completed", "unlearned")
    certificate = done["certificates"][0]["id"]
    verdict = verify_certificate(
        read_certificate(certificate, caller=ADMIN, doors=doors),
        read_proof(certificate, caller=ADMIN, doors=doors),
        verification_keys(doors).split(),
    )
    assert verdict.failures == []
    assert model_of(doors, model)["state"] == "live"


def test_a_first_build_that_a_deletion_overtook_goes_on_without_the_rows(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors, repair=False)
    shard, number = place_of(doors, 5)
    # Build, plan both shards, and train a node or two, before the deletion comes.
    for _ in range(5):
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
        assert job is not None
        run_computation(job.id, job.fence, doors=doors)
    with doors.database.transaction() as session:
        plan = read_plan(session, doors, model, shard)
    ask(doors, 5)
    deactivate(doors)
    with doors.database.transaction() as session, pytest.raises(errors.OvertakenByDeletion):
        plan.refuse_overtaken(session, [number])
    drain(doors)
    assert model_of(doors, model)["serving"]["depths"] == [3, 3]
    assert model_of(doors, model)["nodes"]["live"] == 14


def test_a_strike_that_changes_no_slice_lets_the_same_nodes_come_back(doors: Doors) -> None:
    add_dataset(doors)
    add_model(doors, approval_required=True)
    drain(doors)
    first, second = ask(doors, 5), ask(doors, 5)
    decide_deletion(first["id"], Decision.APPROVE, caller=OTHER, once=NOTHING, doors=doors)
    drain(doors)
    late = add_model(doors, "late")
    drain(doors)
    before = serving(doors, late)["manifest_digest"]
    decide_deletion(second["id"], Decision.APPROVE, caller=OTHER, once=NOTHING, doors=doors)
    drain(doors)
    assert request_of(doors, second["id"])["state"] == "completed"
    assert model_of(doors, late)["serving"]["guarantee"] == "retrain_equivalent"
    assert serving(doors, late)["manifest_digest"] == before
    assert model_of(doors, late)["nodes"]["live"] >= 14


def test_a_backbone_trained_after_the_request_was_made_still_stops_its_certificate(doors: Doors) -> None:
    add_dataset(doors, public_owner=address(5))
    receipt = ask(doors, 5)
    add_model(doors)
    with doors.database.transaction() as session:
        build = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
    assert build is not None
    run_computation(build.id, build.fence, doors=doors)
    drain(doors)
    done = request_of(doors, receipt["id"])
    assert (done["state"], done["wait_reason"], done["certificates"]) == ("needs_attention", "owner_in_backbone", [])


def test_a_model_waits_to_be_registered_while_rows_are_being_erased(doors: Doors) -> None:
    add_dataset(doors)
    with ThreadPoolExecutor(1) as pool:
        with doors.database.transaction() as session:
            take_ingest_lock(session, DEFAULT_TENANT)
            registered = pool.submit(add_model, doors)
            with pytest.raises(TimeoutError):
                registered.result(timeout=0.5)
        assert registered.result(timeout=10)
