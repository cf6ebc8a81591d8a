"""The worst moments, one by one: what a random strike hits once in a thousand runs is made to happen here, every time.

Each moment comes twice: as it is, and with its guard taken out. Then the proof must fail, and for the right reason.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Row, text

from core.domain.job import JobKind, Lane
from core.domain.references import owner_reference
from core.lattice.placement import Place, place
from core.persistence import jobs
from core.unlearning.exact import training
from core.use_cases import train_node
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.look_after import certify_repaired, destroy_abandoned_drafts, free_expired_jobs
from core.use_cases.run_computation import run_computation
from tests.faults.conftest import Stacks
from tests.faults.proof import Wrong
from tests.faults.stack import Stack
from tests.faults.unguarded import take_out
from tests.faults.worlds import OWNERS
from tests.integration import world

Moment = Callable[[Stack, pytest.MonkeyPatch], None]


class Killed(BaseException):
    """Ends a training as SIGKILL would: nothing of ours that catches errors catches this."""


def claimed(doors: Doors, lane: Lane, **hints: Any) -> Row[Any] | None:
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET run_after = clock_timestamp() - interval '1 second'"))
        return jobs.claim(session, lane=lane, worker="test", lease=60, **hints)


def silence(doors: Doors) -> None:
    """Let every lease run out, and let the next worker's upkeep see it."""
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'"))
    free_expired_jobs(doors)


def a_training_begins(stack: Stack) -> Row[Any]:
    """Delete somebody, and return the first claimed job that repairs what they leave."""
    stack.ask(5)
    world.deactivate(stack.doors)
    while True:
        job = claimed(stack.doors, Lane.COMPUTE)
        assert job is not None
        if job.kind == JobKind.TRAIN_NODE:
            return job
        run_computation(job.id, job.fence, doors=stack.doors)


def after_training(patch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Let something happen between the end of the next training and its commit."""
    train, where = training.train_node, "core.use_cases.train_together.train_node"

    def trained(*node: Any, **how: Any) -> Any:
        patch.setattr(where, train)
        done = train(*node, **how)
        then()
        return done

    patch.setattr(where, trained)


def finish(stack: Stack) -> None:
    """Do what is left to do, as often as workers would."""
    with suppress(SystemExit):
        world.drain(stack.doors)
    destroy_abandoned_drafts(stack.doors)
    certify_repaired(stack.doors, "test")


def frozen_until_another_has_the_job(stack: Stack, patch: pytest.MonkeyPatch) -> None:
    """A trainer is frozen before its commit; its lease runs out, another one begins, and the first wakes up."""
    job = a_training_begins(stack)
    second: list[Row[Any] | None] = []

    def freeze() -> None:
        silence(stack.doors)
        second.append(claimed(stack.doors, Lane.COMPUTE, job_id=job.id))

    after_training(patch, freeze)
    run_computation(job.id, job.fence, doors=stack.doors)
    [other] = second
    assert other is not None
    assert (other.id, other.fence) == (job.id, job.fence + 1)
    with suppress(SystemExit):
        run_computation(other.id, other.fence, doors=stack.doors)
    finish(stack)


def deleted_while_it_trains(stack: Stack, patch: pytest.MonkeyPatch) -> None:
    """Somebody is deleted whom a node has just learned, before the node is committed."""
    job = a_training_begins(stack)
    fed: list[int] = []

    def delete() -> None:
        fed.append(somebody_in(stack, job))
        stack.ask(fed[0])
        world.deactivate(stack.doors)

    after_training(patch, delete)
    run_computation(job.id, job.fence, doors=stack.doors)
    assert fed
    finish(stack)


def killed_between_sealing_and_committing(stack: Stack, patch: pytest.MonkeyPatch) -> None:
    """A trainer dies when its node lies sealed in the store, and its key beside the others."""
    job = a_training_begins(stack)
    with patch.context() as once:
        once.setattr(train_node, "_keep", killed)
        with pytest.raises(Killed):
            run_computation(job.id, job.fence, doors=stack.doors)
    silence(stack.doors)
    finish(stack)


def killed_with_a_deletion_in_its_hands(stack: Stack, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """A worker claims a deletion and dies at once."""
    stack.ask(5)
    assert claimed(stack.doors, Lane.DEACTIVATE) is not None
    silence(stack.doors)
    finish(stack)


def rung_for_twice(stack: Stack, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Two workers hear of the same deletion at the same time."""
    stack.ask(5)
    waiting = open_deletion(stack.doors)
    mine, yours = (claimed(stack.doors, Lane.DEACTIVATE, job_id=waiting) for _ in range(2))
    assert mine is not None
    with stack.doors.database.transaction() as session:
        # Whoever has it lets go in an orderly way.
        jobs.hand_back(session, yours or mine)
    with suppress(Exception):
        finish(stack)


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def open_deletion(doors: Doors) -> str:
    with doors.database.transaction() as session:
        return str(
            session.execute(text("SELECT id FROM jobs WHERE lane = 'deactivate' AND state = 'waiting'")).scalar()
        )


def somebody_in(stack: Stack, job: Row[Any]) -> int:
    """Return an owner who fed the node that a job trains, and was not deleted."""
    with stack.doors.database.transaction() as session:
        from core.use_cases.shard_plan import read_plan

        _, shard, key = job.subject.split("/")
        plan = read_plan(session, stack.doors, job.model_id, int(shard))
    first, rest = plan.steps()
    spec = next(spec for spec in first + rest if spec.key == key)
    places = {Place(spec.shard, number) for number in spec.slices}
    secret = stack.doors.tenant_key(DEFAULT_TENANT)
    return next(
        owner
        for owner in range(OWNERS)
        if owner not in stack.story.requests.values()
        and place(world.PLACEMENT_KEY, owner_reference(secret, "email", world.address(owner)), shards=2, slices=3)
        in places
    )


MOMENTS: dict[Moment, tuple[str, str]] = {
    frozen_until_another_has_the_job: ("fence", "stale_write"),
    deleted_while_it_trains: ("epochs", "dead_record_live"),
    killed_between_sealing_and_committing: ("drafts", "fsck_orphan_key"),
    killed_with_a_deletion_in_its_hands: ("reaper", "request_not_completed"),
    rung_for_twice: ("claim", "ran_twice_at_once"),
}
"""What happens → the guard that holds then, and what is found without it."""


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_the_guard_holds(new_stack: Stacks, monkeypatch: pytest.MonkeyPatch, moment: Moment) -> None:
    with new_stack() as stack:
        moment(stack, monkeypatch)
        stack.prove()


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_without_the_guard_the_proof_fails(new_stack: Stacks, monkeypatch: pytest.MonkeyPatch, moment: Moment) -> None:
    guard, code = MOMENTS[moment]
    with new_stack() as stack:
        take_out(guard, monkeypatch.setattr)
        moment(stack, monkeypatch)
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert code in wrong.value.codes, wrong.value
