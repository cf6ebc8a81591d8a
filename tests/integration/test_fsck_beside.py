"""`lethe fsck` beside a service at work: whatever happens between two of its looks, it raises no false alarm."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.domain.errors import StaleFence
from core.domain.job import Lane
from core.persistence import jobs
from core.use_cases import train_node
from core.use_cases.check_consistency import check_consistency
from core.use_cases.conclude_deletion import conclude_deletion
from core.use_cases.deactivate_slices import deactivate_slices
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.look_after import certify_repaired, destroy_abandoned_drafts, free_expired_jobs
from core.use_cases.run_computation import run_computation
from tests.integration.world import add_dataset, add_model, ask, ask_records, built, deactivate, drain

DELETIONS = 10
PATIENCE_SECONDS = 200


def errors(doors: Doors) -> list[Finding]:
    return [one for one in check_consistency(doors) if one.severity is Severity.ERROR]


class Meddler:
    """A store at whose methods something happens, once, just before or just after one of them did its work."""

    def __init__(self, store: Any, method: str, meddle: Callable[[], None], *, before: bool) -> None:
        self._store, self._method, self._meddle, self._before = store, method, meddle, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._method:
            return found

        def called(*arguments: Any) -> Any:
            meddle, self._meddle = self._meddle, lambda: None
            if self._before:
                meddle()
            answer = found(*arguments)
            answer = iter(list(answer)) if name.startswith("list") else answer
            if not self._before:
                meddle()
            return answer

        return called


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("door", "method"), [("keys", "list_ids"), ("keys", "get"), ("store", "list_digests"), ("store", "get")]
)
def test_a_deletion_at_any_moment_is_no_finding(doors: Doors, door: str, method: str, *, before: bool) -> None:
    built(doors, repair=False)
    happened: list[str] = []

    def delete() -> None:
        happened.append(ask(doors, 5)["id"])
        ask_records(doors, "row-9-0")  # the block of the other row is resealed under another key
        deactivate(doors)

    changed: dict[str, Any] = {door: Meddler(getattr(doors, door), method, delete, before=before)}
    meddled = replace(doors, **changed)
    assert errors(meddled) == []
    assert happened
    assert errors(doors) == []


def test_a_trainer_that_a_deletion_overtook_after_its_draft_makes_no_key(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(doors)
    drafted: list[str] = []
    made: list[str] = []
    make_key = Doors.make_key

    def strike(point: str) -> None:
        if point == "after_draft" and not drafted:
            with doors.database.transaction() as session:
                drafted.extend(session.execute(text("SELECT data_key_id FROM node_drafts")).scalars())
            ask(doors, *range(12))
            deactivate(doors)

    def note(self: Doors, key_id: str) -> None:
        made.append(key_id)
        make_key(self, key_id)

    monkeypatch.setattr(train_node, "reach", strike)
    monkeypatch.setattr(Doors, "make_key", note)
    ask(doors, 5)
    drain(doors)
    with doors.database.transaction() as session:
        ordered = session.execute(text("SELECT key_id FROM erasures WHERE destroyed_at IS NOT NULL")).scalars()
        assert set(drafted) <= set(ordered), "the deletion struck the draft"
    assert drafted
    assert made
    assert not set(drafted) & set(made)
    assert errors(doors) == []


def test_a_key_that_came_to_life_after_it_was_ordered_dead_is_an_error(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    deactivate(doors)
    with doors.database.transaction() as session:
        destroyed = session.execute(text("SELECT key_id FROM erasures WHERE kind = 'node'")).scalars().first()
    assert model
    assert destroyed is not None
    doors.keys.put(destroyed, bytes(32))
    assert [(one.code, one.object) for one in errors(doors)] == [("destroyed_key_survives", destroyed)]


class Killed(BaseException):
    """What a trainer dies of: nothing that it could still catch."""


@pytest.fixture
def spared(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let every fourth trainer die between sealing its node and committing it, until this event is set."""
    keep, count, spared = train_node._keep, itertools.count(1), threading.Event()

    def kept(*arguments: Any) -> None:
        if next(count) % 4 == 0 and not spared.is_set():
            raise Killed
        keep(*arguments)

    monkeypatch.setattr(train_node, "_keep", kept)
    return spared


class Service:
    """The threads of a small service; a killed trainer's lease ends at once, by hand."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.stopping = threading.Event()
        self.broken: list[BaseException] = []
        self.threads = [
            threading.Thread(target=self._repeat, args=(once,))
            for once in (self._deactivate, self._train, self._upkeep)
        ]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)

    def _repeat(self, once: Callable[[], None]) -> None:
        while not self.stopping.is_set():
            try:
                once()
            except (StaleFence, IntegrityError):
                continue
            except BaseException as error:  # noqa: BLE001 - shown to whoever watches the threads
                self.broken.append(error)
                return
            self.stopping.wait(0.005)

    def _claim(self, lane: Lane) -> Any:
        with self.doors.database.transaction() as session:
            return jobs.claim(session, lane=lane, worker="beside", lease=600)

    def _deactivate(self) -> None:
        job = self._claim(Lane.DEACTIVATE)
        if job is not None:
            if job.state == "running":
                deactivate_slices(job, doors=self.doors)
            conclude_deletion(job, doors=self.doors)

    def _train(self) -> None:
        job = self._claim(Lane.COMPUTE)
        if job is None:
            return
        try:
            run_computation(job.id, job.fence, doors=self.doors)
        except (Killed, SystemExit):  # the latter is how an attempt ends that met trouble
            with self.doors.database.transaction() as session:
                ended = text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id")
                session.execute(ended, {"id": job.id})

    def _upkeep(self) -> None:
        free_expired_jobs(self.doors)
        destroy_abandoned_drafts(self.doors)
        certify_repaired(self.doors, "beside")


def test_while_people_are_deleted_and_trainers_die_it_finds_nothing_wrong(
    doors: Doors, spared: threading.Event
) -> None:
    tireless = replace(doors, settings=doors.settings.model_copy(update={"max_attempts": 1000}))
    with Service(tireless) as service:
        add_dataset(doors)
        add_model(tireless)
        for owner in range(DELETIONS):
            ask(tireless, owner)
            for _ in range(2):
                assert errors(doors) == []
    assert service.broken == []
    spared.set()
    free_expired_jobs(doors)
    drain(doors)
    destroy_abandoned_drafts(doors)
    # What is left of trainers that died is garbage without a key.
    assert {one.code for one in check_consistency(doors)} <= {"orphan_object"}
