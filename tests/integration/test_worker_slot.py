"""A compute slot and the process it keeps: jobs of a shard in one process, and every way in which a process can end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cli.serve import environment
from core.domain.job import JobEvent, Lane
from core.persistence import jobs
from core.use_cases.doors import Doors
from core.use_cases.look_after import give_back
from tests.integration.bells import PATIENCE, until
from tests.integration.training import attempts_of, job_of, long_build, trains
from tests.integration.world import add_dataset, add_model, model_of
from worker.devices import visible_devices
from worker.runner import Runner
from worker.slot import ComputeSlot, nearby


@pytest.fixture
def doors(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> Doors:
    """The doors of a process whose children find the same ones. Nothing here waits for a lease to run out."""
    doors = replace(doors, settings=doors.settings.model_copy(update={"lease_seconds": 60.0, "max_attempts": 2}))
    for name, value in environment(doors.settings).items():
        monkeypatch.setenv(name, value)
    return doors


@contextmanager
def slot(doors: Doors) -> Iterator[ComputeSlot]:
    made = ComputeSlot(doors, "worker-test", threading.Event())
    try:
        yield made
    finally:
        made.stopping.set()
        made.close()


@contextmanager
def at_work(doors: Doors, job: str) -> Iterator[ComputeSlot]:
    """A slot at work, in whose process a long training runs."""
    with slot(doors) as made:

        def work() -> None:
            while not made.stopping.is_set():
                if not made.once(job):
                    made.stopping.wait(0.05)

        thread = threading.Thread(target=work, name="slot")
        thread.start()
        try:
            trains(doors, job)
            yield made
        finally:
            made.stopping.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def pid_of(made: ComputeSlot) -> int:
    assert made._runner is not None
    return made._runner.pid


def test_a_process_does_the_jobs_of_one_model_shard_by_shard(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, str, int]] = []
    real: Callable[[Runner, Any], None] = Runner.give

    def note(self: Runner, job: Any) -> None:
        given.append((job.model_id, nearby(job), self.pid))
        real(self, job)

    monkeypatch.setattr(Runner, "give", note)
    add_dataset(doors)
    with slot(doors) as made:
        for name in ("faces", "voices"):
            model = add_model(doors, name=name)
            until(made.once, "the process is warm")
            until(lambda: not made.once(), "nothing is left to do")
            assert model_of(doors, model)["state"] == "live"
            training = [(shard, pid) for of, shard, pid in given if of == model and shard != f"{model}/build/"]
            assert len({shard for shard, _ in training}) == 2
            assert len({pid for _, pid in training}) == 1, "each shard had a process of its own"
            switches = sum(before != after for (before, _), (after, _) in pairwise(training))
            assert switches < len(training) / 2, "the shards' jobs took turns"
    seen = {process: {of for of, _, pid in given if pid == process} for _, _, process in given}
    assert all(len(models) == 1 for models in seen.values()), "a process saw the rows of two models"


def test_a_job_whose_process_always_dies_is_dead_in_the_end_and_says_what_of(doors: Doors) -> None:
    job = long_build(doors)
    job_of_now = partial(job_of, doors, job)
    killed: list[int] = []
    with at_work(doors, job) as made:
        for attempt in (1, 2):
            until(partial(_works_on, made, job_of_now, attempt, killed), "the job is tried")
            killed.append(pid_of(made))
            os.killpg(killed[-1], signal.SIGKILL)
        until(lambda: job_of(doors, job).state == "dead", "the job is given up")
    assert all(gone(process) for process in killed)
    noted = attempts_of(doors, job)
    assert [(one.outcome, one.error_code) for one in noted] == [
        ("retry", "killed_by_signal_9"),
        ("gave_up", "killed_by_signal_9"),
    ]
    assert all(one.peak_memory_bytes > 50 << 20 for one in noted)
    assert model_of(doors, job_of(doors, job).model_id)["state"] == "failed"


def _works_on(made: ComputeSlot, job: Callable[[], Any], attempt: int, killed: list[int]) -> bool:
    found = job()
    new = made._runner is not None and made._runner.pid not in killed
    return bool(new and found.state == "running" and found.fence == attempt)


def test_a_slot_that_must_stop_hands_its_job_back_uncounted(doors: Doors) -> None:
    job = long_build(doors)
    with at_work(doors, job) as made:
        process = pid_of(made)
        made.stopping.set()
    back = job_of(doors, job)
    assert (back.state, back.attempt, back.lease_until, back.worker) == ("waiting", 0, None, None)
    assert [one.outcome for one in attempts_of(doors, job)] == ["handed_back"]
    assert gone(process)


def test_a_job_that_somebody_cancels_is_stopped_and_dead(doors: Doors) -> None:
    job = long_build(doors)
    with at_work(doors, job) as made:
        process = pid_of(made)
        with doors.database.transaction() as session:
            session.execute(jobs.jobs.update().where(jobs.jobs.c.id == job).values(cancel_requested=True))
        until(lambda: job_of(doors, job).state == "dead", "it is cancelled")
        until(lambda: gone(process), "its process is gone")
    assert [one.outcome for one in attempts_of(doors, job)] == ["cancelled"]


def test_a_lost_lease_kills_the_process_and_leaves_the_job_to_others(doors: Doors) -> None:
    job = long_build(doors)
    with at_work(doors, job) as made:
        process = pid_of(made)
        with doors.database.transaction() as session:
            session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second'"))
        with doors.database.transaction() as session:  # one: the slot itself must not be quicker
            expired = jobs.next_expired(session)
            assert expired is not None
            give_back(session, expired, JobEvent.LEASE_LOST, "lease_lost")
            taken = jobs.claim(session, lane=Lane.COMPUTE, worker="another", lease=60)
        assert taken is not None
        assert taken.id == job
        until(lambda: gone(process), "its process is gone")
    other = job_of(doors, job)
    assert (other.state, other.worker, other.fence) == ("running", "another", 2)
    assert [one.outcome for one in attempts_of(doors, job)] == ["lease_lost", None]


def test_a_process_that_cannot_start_uses_up_no_attempts(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    job = long_build(doors)
    monkeypatch.setenv("LETHE_TRAINER_THREADS", "0")
    with slot(doors) as made:
        until(lambda: made._cold_until > 0 or made.once(job), "the process dies before it is ready")
        assert not made.once(job)
    assert (job_of(doors, job).state, job_of(doors, job).attempt) == ("waiting", 0)


def test_a_process_whose_parent_is_gone_ends_by_itself(doors: Doors) -> None:
    job = long_build(doors)
    with doors.database.transaction() as session:
        claimed = jobs.claim(session, lane=Lane.COMPUTE, worker="doomed", lease=600)
    assert claimed is not None
    runner = Runner()
    assert runner.warm(PATIENCE)
    runner.give(claimed)
    trains(doors, job)
    runner._orders.close()  # as the kernel does when the parent dies
    until(runner.death, "it ends")
    death = runner.death()
    assert death is not None
    assert death.code == 3


@pytest.mark.parametrize(
    ("given", "devices"), [("0,1", ["0", "1"]), ("GPU-8a, GPU-9b", ["GPU-8a", "GPU-9b"]), ("", []), ("-1", [])]
)
def test_devices_are_those_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, given: str, devices: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_devices() == devices


def test_each_process_sees_only_its_device(doors: Doors) -> None:
    assert doors
    runner = Runner("1")
    try:
        variables = Path(f"/proc/{runner.pid}/environ")
        until(lambda: b"CUDA_VISIBLE_DEVICES=1\0" in variables.read_bytes(), "it was told")
        assert os.getpgid(runner.pid) == runner.pid
    finally:
        runner.kill()
