"""PostgreSQL falls under the workers' hands, twice, with many jobs open: everybody waits, comes back and goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.persistence import jobs
from tests.faults.conftest import FULL, Stacks
from tests.faults.processes import UNGUARDED, send
from tests.faults.proof import Wrong
from tests.faults.stack import Stack
from tests.faults.worlds import Worlds
from tests.servers import Postgres

MODELS, DELETIONS = (10, 20) if FULL else (2, 20)


@pytest.mark.timeout(600)
def test_postgres_may_fall_with_many_jobs_open(new_stack: Stacks, worlds: Worlds, postgres_server: Postgres) -> None:
    with new_stack(worlds.built(MODELS, repair=False)) as stack:
        for owner in range(DELETIONS):
            stack.ask(owner)
        assert counted(stack, "waiting") == MODELS * DELETIONS
        stack.start("worker-1", "worker", "--queues", "cpu")
        stack.start("worker-2", "worker", "--queues", "cpu")
        stack.wait(lambda: counted(stack, "done") * 4 >= MODELS * DELETIONS, "nothing is done")
        kill(postgres_server)
        stack.wait(lambda: counted(stack, "done") * 2 >= MODELS * DELETIONS, "nothing more is done")
        abort(postgres_server)
        stack.settle()
        stack.prove()


def counted(stack: Stack, state: str) -> int:
    with stack.doors.database.transaction() as session:
        query = select(func.count()).select_from(jobs.jobs).where(jobs.jobs.c.state == state)
        return int(session.execute(query.where(jobs.jobs.c.lane == "deactivate")).scalar_one())


def kill(server: Postgres) -> None:
    """As when its machine loses power."""
    server.kill()
    server.start()


def abort(server: Postgres) -> None:
    """PostgreSQL's immediate shutdown: it hangs up on everybody, and recovers from its log at the next start."""
    server.main.stop(signal.SIGQUIT)
    server.start()


def fall_while_a_worker_holds_a_deletion(stack: Stack, server: Postgres, file: Path) -> None:
    """Freeze the worker with a job in its hands, let the database fall, and let the worker go on meanwhile."""
    file.write_text("after_claim freeze")
    stack.ask(5)
    [worker] = stack.wait(stack.frozen, "no worker stands still")
    server.kill()
    send(worker, signal.SIGCONT)
    stack.wait(lambda: "trouble" in stack.processes["worker"].last_words(), "the worker notices nothing")
    server.start()


def test_a_job_that_was_in_hand_is_freed(
    new_stack: Stacks, worlds: Worlds, postgres_server: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "point"
    with new_stack(worlds.built(repair=False)) as stack:
        stack.start("worker", "worker", "--queues", "cpu", LETHE_FAULT_FILE=str(file))
        fall_while_a_worker_holds_a_deletion(stack, postgres_server, file)
        stack.settle()
        stack.prove()


def test_without_the_reaper_it_is_never_done(
    new_stack: Stacks, worlds: Worlds, postgres_server: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "point"
    with new_stack(worlds.built(repair=False)) as stack:
        stack.start("worker", "worker", "--queues", "cpu", LETHE_FAULT_FILE=str(file), **{UNGUARDED: "reaper"})
        fall_while_a_worker_holds_a_deletion(stack, postgres_server, file)
        with pytest.raises(AssertionError, match="it never comes to rest"):
            stack.settle(seconds=5)
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert "request_not_completed" in wrong.value.codes
