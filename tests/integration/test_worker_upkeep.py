"""The rounds of the worker and of the dispatcher: they begin, they go on, and what fails in one stops none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from core.domain.job import Lane
from core.persistence import jobs
from core.use_cases.check_stores import sweep_orphans
from core.use_cases.doors import Doors
from core.use_cases.look_after import free_expired_jobs
from tests.integration.bells import PATIENCE, until
from tests.integration.world import ask, built
from worker.upkeep import Upkeep


@contextmanager
def looked_after(doors: Doors) -> Iterator[None]:
    stopping = threading.Event()
    threads = Upkeep(doors, "worker", "worker-test", stopping).threads()
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)


def test_trouble_in_one_round_does_not_end_the_rounds(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    built(doors, repair=False)
    ask(doors, 5)
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="dead", lease=0.0)
    assert job is not None
    calls: list[int] = []

    def troubled(doors: Doors) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the first round fails")
        return free_expired_jobs(doors)

    monkeypatch.setattr("worker.upkeep.free_expired_jobs", troubled)
    with looked_after(doors):
        until(lambda: _state(doors, job.id) == "waiting", "a later round frees the job")


def _state(doors: Doors, job: str) -> str:
    with doors.database.transaction() as session:
        return str(session.execute(text("SELECT state FROM jobs WHERE id = :id"), {"id": job}).scalar_one())


def test_orphans_are_looked_for_again_and_again(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    doors = replace(doors, settings=doors.settings.model_copy(update={"orphan_seconds": 0.05}))
    sweeps: list[dict[str, int]] = []

    def note(doors: Doors) -> dict[str, int]:
        sweeps.append(sweep_orphans(doors))
        return sweeps[-1]

    monkeypatch.setattr("worker.upkeep.sweep_orphans", note)
    with looked_after(doors):
        until(lambda: len(sweeps) >= 2, "it sweeps twice")
