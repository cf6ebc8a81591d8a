"""The rounds of the worker and of the dispatcher: they begin, they go on, and what fails in one stops none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text

from core.domain.job import Lane
from core.persistence import jobs
from core.settings import Settings
from core.use_cases.check_stores import sweep_orphans
from core.use_cases.doors import Doors, open_doors
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


def test_a_step_that_always_fails_keeps_no_other_from_being_made(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    def troubled(_: Doors) -> int:
        raise ValueError("somebody's row")

    made: list[str] = []
    monkeypatch.setattr("worker.upkeep.free_expired_jobs", troubled)
    for step in ("destroy_abandoned_drafts", "resume_repairs", "certify_repaired", "sign_checkpoint_if_grown"):
        monkeypatch.setattr(f"worker.upkeep.{step}", lambda *_, step=step: made.append(step))
    beats: list[tuple[str, str]] = []
    monkeypatch.setattr("worker.upkeep.beat", lambda *names: beats.append(names))
    assert not Upkeep(doors, "worker", "worker-test", threading.Event()).once()
    assert made == ["destroy_abandoned_drafts", "resume_repairs", "certify_repaired", "sign_checkpoint_if_grown"]
    with looked_after(doors):
        until(lambda: len(made) >= 8, "the rounds go on")
    assert ("worker", "upkeep") not in beats, "rounds that fail are no sign of life"


def test_a_database_that_is_away_is_told_of_once_a_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = "postgresql://somebody@127.0.0.1:1/nowhere"
    away = open_doors(Settings(database_url=url, data_directory=tmp_path / "lethe"))
    monkeypatch.setattr("worker.upkeep.TROUBLE_SECONDS", 0.01)
    upkeep, rounds = Upkeep(away, "worker", "worker-test", threading.Event()), []
    once = upkeep.once

    def counted() -> bool:
        rounds.append(once())
        if len(rounds) == 3:
            upkeep.stopping.set()
        return rounds[-1]

    monkeypatch.setattr(upkeep, "once", counted)
    with structlog.testing.capture_logs() as told:
        upkeep._make_rounds()
    assert rounds == [False] * 3
    assert told == [
        {"event": "upkeep.trouble", "log_level": "error", "loop": "upkeep", "kind": "OperationalError"}
    ] * len(rounds)


def test_what_the_database_refuses_keeps_no_other_step_from_being_made(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(doors: Doors) -> int:
        with doors.database.transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = 1"))
            session.execute(text("SELECT pg_sleep(1)"))
        return 0

    made: list[str] = []
    monkeypatch.setattr("worker.upkeep.free_expired_jobs", refused)
    monkeypatch.setattr("worker.upkeep.resume_repairs", lambda _: made.append("resume_repairs"))
    assert not Upkeep(doors, "worker", "worker-test", threading.Event()).once()
    assert made


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
