"""Worker processes that are killed, frozen or asked to end while they train: the work goes on elsewhere, and is done once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.processes import lethe
from cli.serve import environment
from core.use_cases.doors import Doors
from core.use_cases.look_after import free_expired_jobs
from tests.integration.bells import PATIENCE, on_broker, until
from tests.integration.training import attempts_of, job_of, long_build, trains
from tests.integration.world import ask, built, model_of, request_of
from tests.servers import redis

LEASE = "5"
"""Seconds: renewed every 1.25, so a machine that stalls for two does not lose it."""
SHORT = 30
"""Epochs of a training that is long enough to be interrupted and short enough to be done again."""


@contextmanager
def worker(doors: Doors, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `lethe worker` in a session of its own, and end all of it afterwards."""
    process = subprocess.Popen(
        lethe("worker", *arguments),
        env={
            **os.environ,
            **environment(doors.settings),
            "LETHE_LEASE_SECONDS": LEASE,
            "LETHE_COMPUTE_SLOTS": "1",
            **variables,
        },
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for one in [process.pid, *children(process.pid)]:
            _signal(one, signal.SIGKILL)
        process.wait()


def children(parent: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def live(doors: Doors, job: str) -> bool:
    return bool(model_of(doors, job_of(doors, job).model_id)["state"] == "live")


def published(doors: Doors) -> int:
    with doors.database.transaction() as session:
        return int(session.execute(text("SELECT count(*) FROM versions")).scalar_one())


def test_a_killed_worker_is_replaced_after_its_lease_and_publishes_once(doors: Doors) -> None:
    job = long_build(doors, SHORT)
    with worker(doors) as victim:
        trains(doors, job)
        orphans = children(victim.pid)
        assert orphans
        victim.kill()
        victim.wait()
        # Without its parent nobody renews the lease; what it started ends by itself.
        until(lambda: not any(Path(f"/proc/{one}/status").exists() and _runs(one) for one in orphans), "orphans end")
    with worker(doors):
        until(lambda: live(doors, job), "another worker builds the model")
    assert published(doors) == 1
    assert [one.outcome for one in attempts_of(doors, job)] == ["lease_lost", "concluded"]


def _runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_a_worker_that_was_frozen_longer_than_its_lease_commits_nothing(doors: Doors) -> None:
    job = long_build(doors, SHORT)
    with worker(doors) as frozen:
        trains(doors, job)
        everybody = [frozen.pid, *children(frozen.pid)]
        for one in everybody:
            _signal(one, signal.SIGSTOP)
        stale = job_of(doors, job)
        until(lambda: free_expired_jobs(doors), "its lease runs out")
        with worker(doors):
            until(lambda: live(doors, job), "another worker builds the model")
            before = job_of(doors, job)
            for one in everybody:
                _signal(one, signal.SIGCONT)
            # It wakes, asks for its lease, and learns that it lost it; then it is an ordinary worker again.
            trainers = everybody[1:]
            until(lambda: any(not _runs(one) for one in trainers), "its training is killed")
        assert job_of(doors, job) == before
    assert before.fence > stale.fence
    assert published(doors) == 1
    assert [one.outcome for one in attempts_of(doors, job)] == ["lease_lost", "concluded"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_asked_to_end_hands_back_what_it_has_and_exits_well(doors: Doors, number: int) -> None:
    job = long_build(doors)
    with worker(doors, LETHE_LEASE_SECONDS="600") as asked:
        trains(doors, job)
        trainers = children(asked.pid)
        asked.send_signal(number)
        assert asked.wait(PATIENCE) == 0
        assert not any(_runs(one) for one in trainers)
    back = job_of(doors, job)
    assert (back.state, back.attempt, back.lease_until) == ("waiting", 0, None)
    assert [one.outcome for one in attempts_of(doors, job)] == ["handed_back"]


def test_a_second_signal_ends_it_at_once(doors: Doors) -> None:
    job = long_build(doors)
    with worker(doors, LETHE_LEASE_SECONDS="600") as asked:
        trains(doors, job)
        trainers = children(asked.pid)
        for one in trainers:
            _signal(one, signal.SIGSTOP)  # what is frozen cannot end when it is asked, and would be waited for
        asked.send_signal(signal.SIGTERM)
        asked.send_signal(signal.SIGINT)
        assert asked.wait(PATIENCE) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
        assert job_of(doors, job).state == "running", "nothing was handed back: the lease will run out"
        for one in trainers:
            _signal(one, signal.SIGCONT)
        until(lambda: not any(_runs(one) for one in trainers), "orphans end by themselves")


def test_a_worker_for_deletions_never_loads_torch_and_trains_nothing(doors: Doors) -> None:
    built(doors)
    with redis() as server:
        doors = on_broker(doors, server.url, poll_seconds=0.2)
        request = ask(doors, 5)["id"]
        with worker(doors, "--queues", "cpu") as running:
            until(lambda: request_of(doors, request)["state"] == "completed", "it completes a deletion")
            assert "torch" not in Path(f"/proc/{running.pid}/maps").read_text()
            assert children(running.pid) == []
            running.terminate()
            assert running.wait(PATIENCE) == 0
    with doors.database.transaction() as session:
        states = session.execute(text("SELECT DISTINCT state FROM jobs WHERE lane = 'compute'"))
        assert "waiting" in states.scalars().all(), "the repair waits for somebody else"


def test_both_queues_are_two_processes_and_end_together(doors: Doors) -> None:
    job = long_build(doors)
    with redis() as server:
        doors = on_broker(doors, server.url, poll_seconds=0.2)
        with worker(doors) as both:
            trains(doors, job)
            apart = children(both.pid)
            assert len(apart) == 2
            assert sorted(bool(children(one)) for one in apart) == [False, True], "only one of them trains"
            both.terminate()
            assert both.wait(PATIENCE) == 0
            assert not any(_runs(one) for one in apart)
    assert (job_of(doors, job).state, job_of(doors, job).attempt) == ("waiting", 0)
