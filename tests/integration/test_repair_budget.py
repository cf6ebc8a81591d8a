"""Repair under a budget: what is spent never exceeds what was credited, the worst shard comes first, and E2 is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text, update

from core.domain.access import Scope
from core.domain.errors import BadInput, Forbidden, ModelNotFound, StaleRowVersion
from core.domain.job import JobEvent, JobKind, JobState, Lane
from core.domain.references import owner_reference
from core.domain.repair import RepairBudget, RepairPolicy
from core.lattice.placement import Place, place
from core.persistence import budgets, jobs, models, nodes
from core.settings import Settings
from core.use_cases.cancel_job import cancel_job
from core.use_cases.change_model import ModelChange, change_model
from core.use_cases.check_consistency import check_consistency
from core.use_cases.doors import DEFAULT_TENANT, Doors, open_doors
from core.use_cases.look_after import give_back, resume_repairs
from core.use_cases.prepare_service import prepare_service
from core.use_cases.repair_model import repair_model
from core.use_cases.run_computation import run_computation
from tests.integration import world
from tests.integration.world import (
    ADMIN,
    NOTHING,
    OWNERS,
    PLACEMENT_KEY,
    add_dataset,
    add_model,
    address,
    ask,
    built,
    compute,
    deactivate,
    drain,
    make_recipe,
    model_of,
    serving,
)

WHOLE_SHARD = 12
"""Slice-epochs of a subset trie of three slices."""


def place_of(doors: Doors, owner: int) -> Place:
    reference = owner_reference(doors.tenant_key(DEFAULT_TENANT), "email", address(owner))
    return place(PLACEMENT_KEY, reference, shards=2, slices=3)


def owner_at(doors: Doors, shard: int, number: int, *, skip: int = 0) -> int:
    found = [owner for owner in range(OWNERS) if place_of(doors, owner) == Place(shard, number)]
    return found[skip]


def budgeted(doors: Doors, amount: float) -> str:
    return built(doors, repair_budget=RepairBudget(slice_epochs_per_deletion=amount))


def taken(doors: Doors, model: str) -> float:
    return float(model_of(doors, model)["repair"]["taken"]["slice_epochs"])


def change(doors: Doors, model: str, **wanted: Any) -> dict[str, Any]:
    return change_model(model, ModelChange(**wanted), caller=ADMIN, doors=doors)


def test_a_first_build_takes_nothing_from_the_budget(doors: Doors) -> None:
    model = budgeted(doors, 0.5)
    shown = model_of(doors, model)
    assert shown["serving"]["guarantee"] == "retrain_equivalent"
    assert shown["repair"]["policy"] == "budget"
    assert shown["repair"]["taken"] == {"slice_epochs": 0, "seconds": 0}
    assert shown["policy"]["repair_budget"] == {"slice_epochs_per_deletion": 0.5}


def test_what_is_spent_never_exceeds_what_deletions_credited(doors: Doors) -> None:
    model = budgeted(doors, 2.0)
    for number, owner in enumerate((owner_at(doors, 0, 0), owner_at(doors, 1, 2), owner_at(doors, 0, 1)), start=1):
        ask(doors, owner)
        drain(doors)
        shown = model_of(doors, model)["repair"]
        assert taken(doors, model) + shown["balance"] == pytest.approx(2.0 * number)
        assert shown["balance"] >= 0
    assert shown["waiting_shards"], "six slice-epochs do not mend three hits"
    assert model_of(doors, model)["serving"]["guarantee"] == "influence_free"
    assert [one.code for one in check_consistency(doors)] == []


def test_depth_is_restored_before_any_spare_is_bought_and_the_worst_shard_first(doors: Doors) -> None:
    model = budgeted(doors, 0.1)
    for number in range(3):
        ask(doors, owner_at(doors, 0, number))  # shard 0 is dead
    ask(doors, owner_at(doors, 1, 0))  # shard 1 keeps two slices
    drain(doors)
    assert model_of(doors, model)["serving"]["depths"] == [0, 2]
    depths = []
    for _ in range(40):
        with doors.database.transaction() as session:
            models.lock_model(session, model)
            budgets.add_to_balance(session, model, 1.0)
        drain(doors)
        depths.append(served_depths(doors, model))
        if depths[-1] == (3, 3):
            break
    seen = list(dict.fromkeys(depths))
    assert seen[-1] == (3, 3)
    # Shard 0 catches up first; nobody is a whole step ahead while a worse one can be helped.
    assert [one for one in seen if one[1] == 3 and one[0] < 2] == []
    assert taken(doors, model) == 1 + 2 + 3 + 3, "no spare was bought on the way"


def served_depths(doors: Doors, model: str) -> tuple[int, ...]:
    with doors.database.transaction() as session:
        found = nodes.depths(session, model, 3)
    return tuple(found.get(shard, 0) for shard in range(2))


def test_with_enough_credit_everything_comes_back_and_is_certified(doors: Doors) -> None:
    model = budgeted(doors, 3.0)
    receipt = ask(doors, owner_at(doors, 0, 1))
    drain(doors)
    assert model_of(doors, model)["serving"]["guarantee"] == "influence_free"
    with doors.database.transaction() as session:
        models.lock_model(session, model)
        budgets.add_to_balance(session, model, 100.0)
    drain(doors)
    shown = model_of(doors, model)
    assert shown["serving"]["guarantee"] == "retrain_equivalent"
    assert shown["repair"]["waiting_shards"] == []
    certified = {one["guarantee"] for one in world.request_of(doors, receipt["id"])["certificates"]}
    assert certified == {"influence_free", "retrain_equivalent"}


@pytest.fixture
def elsewhere(database_url: str, doors: Doors, tmp_path: Path, server_url: str, template: str) -> Iterator[Doors]:
    """Another deployment with a database, objects and keys of its own, but the same tenant key."""
    first = database_url.partition("?")[0].rpartition("/")[2]
    name = f"{first}_b"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        settings = Settings(database_url=database_url.replace(first, name, 1), data_directory=tmp_path / "elsewhere")
        other = open_doors(settings)
        other.keys.put(f"tenant_{DEFAULT_TENANT}", doors.tenant_key(DEFAULT_TENANT))
        prepare_service(other)
        yield other
        other.database.close()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_two_histories_under_different_budgets_and_orders_end_in_one_content_digest(
    doors: Doors, elsewhere: Doors
) -> None:
    one = budgeted(doors, 2.5)
    for owner in (5, 9, 11):
        ask(doors, owner)
        drain(doors)
    change(doors, one, repair=True, unlimited=True)
    drain(doors)

    add_dataset(elsewhere)
    other = add_model(elsewhere, repair_budget=RepairBudget(compute_minutes_per_hour=60))
    drain(elsewhere)
    ask(elsewhere, 11, 5)
    drain(elsewhere)
    with elsewhere.database.transaction() as session:
        session.execute(update(budgets.budgets).values(accrued_at=func.clock_timestamp() - text("interval '1 hour'")))
    drain(elsewhere)
    ask(elsewhere, 9)
    drain(elsewhere)
    with elsewhere.database.transaction() as session:
        session.execute(update(budgets.budgets).values(accrued_at=func.clock_timestamp() - text("interval '1 hour'")))
    drain(elsewhere)

    assert serving(doors, one)["guarantee"] == serving(elsewhere, other)["guarantee"] == "retrain_equivalent"
    assert serving(doors, one)["manifest_digest"] == serving(elsewhere, other)["manifest_digest"]


def test_minutes_are_credited_as_time_goes_by_and_never_more_than_an_hours_worth(doors: Doors) -> None:
    model = built(doors, repair_budget=RepairBudget(compute_minutes_per_hour=0.01))
    ask(doors, owner_at(doors, 0, 0))
    drain(doors)
    assert model_of(doors, model)["repair"]["unit"] == "seconds"
    assert served_depths(doors, model)[0] == 2, "next to nothing was credited yet"
    with doors.database.transaction() as session:
        session.execute(update(budgets.budgets).values(accrued_at=func.clock_timestamp() - text("interval '1 day'")))
    assert model_of(doors, model)["repair"]["balance"] == pytest.approx(0.6)
    assert resume_repairs(doors) == 1
    drain(doors)
    assert served_depths(doors, model)[0] == 3
    shown = model_of(doors, model)["repair"]
    assert shown["taken"]["seconds"] > 0
    assert shown["balance"] < 0.6


def test_what_was_credited_and_spent_survives_a_restart(doors: Doors) -> None:
    model = budgeted(doors, 2.0)
    ask(doors, owner_at(doors, 0, 0))
    drain(doors)
    before = model_of(doors, model)["repair"]
    again = open_doors(doors.settings)
    try:
        assert model_of(again, model)["repair"] == before
    finally:
        again.database.close()


def test_a_job_that_is_tried_again_pays_once(doors: Doors) -> None:
    model = budgeted(doors, 3.0)
    ask(doors, owner_at(doors, 0, 2))
    deactivate(doors)
    while True:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
        assert job is not None
        if job.kind == JobKind.TRAIN_NODE:
            break
        run_computation(job.id, job.fence, doors=doors)
    with doors.database.transaction() as session:
        assert budgets.reserved(session, job.id) == 3.0
        give_back(session, jobs.hold(session, job.id, job.fence), JobEvent.LEASE_LOST, "lease_lost")
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60, job_id=job.id)
    assert job is not None
    assert job.attempt == 2
    run_computation(job.id, job.fence, doors=doors)
    assert served_depths(doors, model)[0] == 3
    assert model_of(doors, model)["repair"]["balance"] == pytest.approx(0.0)


def test_what_was_asked_for_and_never_began_is_given_back(doors: Doors) -> None:
    model = budgeted(doors, 3.0)
    ask(doors, owner_at(doors, 0, 2))
    deactivate(doors)
    with doors.database.transaction() as session:
        plan = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
    assert plan is not None
    run_computation(plan.id, plan.fence, doors=doors)
    assert model_of(doors, model)["repair"]["balance"] == pytest.approx(0.0)
    for job in waiting(doors):
        cancel_job(job, caller=ADMIN, once=NOTHING, doors=doors)
    with doors.database.transaction() as session:
        budgets.tidy(session, model)
    assert model_of(doors, model)["repair"]["balance"] == pytest.approx(3.0)


def waiting(doors: Doors) -> list[str]:
    with doors.database.transaction() as session:
        query = select(jobs.jobs.c.id).where(jobs.jobs.c.state == JobState.WAITING, jobs.jobs.c.lane == Lane.COMPUTE)
        return list(session.execute(query).scalars())


def test_a_repair_that_is_switched_off_stops_at_the_next_node_and_goes_on_when_it_is_on_again(doors: Doors) -> None:
    model = built(doors)
    ask(doors, owner_at(doors, 0, 0))
    deactivate(doors)
    with doors.database.transaction() as session:
        plan = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
    assert plan is not None
    run_computation(plan.id, plan.fence, doors=doors)
    assert waiting(doors)
    change(doors, model, repair=False)
    compute(doors)
    assert served_depths(doors, model)[0] == 2
    with doors.database.transaction() as session:
        ends = set(session.execute(select(jobs.jobs.c.error_code).where(jobs.jobs.c.kind == "train_node")).scalars())
    assert ends == {None, "repair_off"}
    change(doors, model, repair=True)
    drain(doors)
    assert model_of(doors, model)["serving"]["guarantee"] == "retrain_equivalent"


def test_whoever_asks_gets_one_repair_though_the_policy_is_off(doors: Doors) -> None:
    model = built(doors, repair=False)
    ask(doors, owner_at(doors, 0, 0))
    drain(doors)
    assert served_depths(doors, model)[0] == 2
    repair_model(model, caller=ADMIN, once=NOTHING, doors=doors)
    drain(doors)
    shown = model_of(doors, model)
    assert shown["serving"]["guarantee"] == "retrain_equivalent"
    assert shown["nodes"]["live"] >= shown["nodes"]["complete"]
    ask(doors, owner_at(doors, 0, 1))
    drain(doors)
    assert served_depths(doors, model)[0] == 2, "the policy was off all the time"


def test_another_budget_begins_with_nothing_and_the_log_says_who_changed_it(doors: Doors) -> None:
    model = budgeted(doors, 5.0)
    ask(doors, owner_at(doors, 0, 0))
    deactivate(doors)
    assert model_of(doors, model)["repair"]["balance"] == pytest.approx(5.0)
    seen = model_of(doors, model)["row_version"]
    shown = change(doors, model, budget=RepairBudget(slice_epochs_per_deletion=1.0))
    assert shown["repair"]["balance"] == 0
    assert shown["row_version"] == seen + 1
    assert change(doors, model, budget=RepairBudget(slice_epochs_per_deletion=1.0))["row_version"] == seen + 1
    with doors.database.transaction() as session:
        told = session.execute(
            text("SELECT count(*) FROM audit_entries WHERE action = 'model.repair_changed'")
        ).scalar_one()
    assert told == 1


def test_a_change_is_refused_that_nobody_may_make_or_that_makes_no_sense(doors: Doors) -> None:
    model = built(doors)
    with pytest.raises(ModelNotFound):
        change(doors, "nobody", repair=False)
    with pytest.raises(StaleRowVersion):
        change_model(model, ModelChange(repair=False), caller=ADMIN, doors=doors, seen=99)
    with pytest.raises(BadInput):
        change(doors, model, repair=False, budget=RepairBudget(slice_epochs_per_deletion=1.0))
    reader = type(ADMIN)(tenant_id=ADMIN.tenant_id, key_id="ak_r", scopes=frozenset({Scope.MODELS_READ}))
    with pytest.raises(Forbidden):
        change_model(model, ModelChange(repair=False), caller=reader, doors=doors)
    for wrong in ({}, {"slice_epochs_per_deletion": 1.0, "compute_minutes_per_hour": 1.0}):
        with pytest.raises(ValueError, match="either"):
            RepairBudget(**wrong)
    with pytest.raises(ValueError, match="between"):
        RepairBudget(slice_epochs_per_deletion=0.0)
    with pytest.raises(ValueError, match="no budget"):
        RepairPolicy(False, RepairBudget(slice_epochs_per_deletion=1.0))


def test_both_shards_get_their_turn_when_the_budget_is_scarce(doors: Doors) -> None:
    recipe = make_recipe(shards=2, slices=3)
    model = built(doors, recipe=recipe, repair_budget=RepairBudget(slice_epochs_per_deletion=4.0))
    for number in range(3):
        ask(doors, owner_at(doors, 0, number))
        ask(doors, owner_at(doors, 1, number))
        drain(doors)
    with doors.database.transaction() as session:
        shares = budgets.shares_of(session, model)
    amounts = [row.slice_epochs for row in shares.values()]
    assert sum(amounts) <= 24
    assert max(amounts) - min(amounts) <= 6, "nobody is left behind by more than two nodes"
