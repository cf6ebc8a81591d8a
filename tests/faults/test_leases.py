"""A lease that is lost, seen from all sides: the process under it is killed, and only the database's clock decides."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from core.domain.errors import StaleFence
from core.persistence import jobs
from core.use_cases.look_after import free_expired_jobs
from core.use_cases.run_computation import run_computation
from tests.faults.conftest import Stacks
from tests.faults.processes import CLOCK, UNGUARDED, send, state_of
from tests.faults.stack import Stack
from tests.faults.test_guards import a_training_begins, finish
from tests.faults.unguarded import take_out

HOUR = 3600.0


def hold_on_to_a_lost_job(stack: Stack, fault_file: Path) -> int:
    """Freeze a worker and its training process until another has the job, and let only the worker go on.

    Returns:
        The training process, which still stands still.
    """
    fault_file.write_text("after_training freeze")
    worker = stack.processes["frozen"]
    stack.ask(5)
    trainer: int = stack.wait(stack.frozen, "no training stands still")[0]
    assert worker.pid is not None
    send(worker.pid, signal.SIGSTOP)
    stack.start("other", "worker")
    stack.wait(lambda: "lease_lost" in outcomes(stack), "the job is never taken over")
    send(worker.pid, signal.SIGCONT)
    return trainer


def outcomes(stack: Stack) -> list[str]:
    with stack.doors.database.transaction() as session:
        return [str(word) for word in session.execute(select(jobs.job_attempts.c.outcome)).scalars()]


def assert_it_is_killed(trainer: int, *, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while state_of(trainer) not in ("", "Z"):
        assert time.monotonic() < give_up, f"a training process outlived its lease: {state_of(trainer)}"
        time.sleep(0.05)


def test_a_training_whose_lease_is_lost_is_killed(new_stack: Stacks, tmp_path: Path) -> None:
    file = tmp_path / "point"
    with new_stack() as stack:
        stack.start("frozen", "worker", LETHE_FAULT_FILE=str(file))
        trainer = hold_on_to_a_lost_job(stack, file)
        assert_it_is_killed(trainer, seconds=60)
        stack.settle()
        stack.prove()


def test_without_that_guard_it_goes_on(new_stack: Stacks, tmp_path: Path) -> None:
    file = tmp_path / "point"
    with new_stack() as stack:
        stack.start("frozen", "worker", LETHE_FAULT_FILE=str(file), **{UNGUARDED: "lease_kill"})
        trainer = hold_on_to_a_lost_job(stack, file)
        with pytest.raises(AssertionError, match="outlived its lease"):
            assert_it_is_killed(trainer, seconds=4)
        # What it brings home is refused by its fence.
        send(trainer, signal.SIGCONT)
        stack.settle()
        stack.prove()


def test_a_worker_whose_clock_is_an_hour_off_changes_nothing(new_stack: Stacks) -> None:
    # Long leases: one that is lost here was lost to the clock.
    with new_stack(LETHE_LEASE_SECONDS="300", LETHE_DEACTIVATION_LEASE_SECONDS="300") as stack:
        stack.start("ahead", "worker", **{CLOCK: str(HOUR)})
        stack.start("worker", "worker")
        stack.ask(5)
        stack.ask(9)
        stack.settle()
        stack.end()
        assert set(outcomes(stack)) <= {"concluded", "postponed"}
        stack.prove()


def test_a_living_trainer_keeps_its_job_whatever_another_workers_clock_says(
    new_stack: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_stack() as stack:
        job = a_training_begins(stack)
        true = time.time
        monkeypatch.setattr(time, "time", lambda: true() + HOUR)
        assert free_expired_jobs(stack.doors) == 0
        take_out("database_clock", monkeypatch.setattr)
        assert free_expired_jobs(stack.doors) == 1, "without the guard the clock alone takes a job away"
        assert "lease_lost" in outcomes(stack)
        monkeypatch.undo()
        with pytest.raises(StaleFence):  # so nothing worse than wasted work came of it
            run_computation(job.id, job.fence, doors=stack.doors)
        finish(stack)
        stack.prove()
