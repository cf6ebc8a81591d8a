"""Readiness names what does not answer, and answers itself in time, whatever hangs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from starlette.testclient import TestClient

from api.app import create_app
from core.domain.errors import StoreUnavailable
from core.persistence import database
from core.settings import Settings
from core.use_cases import check_readiness as readiness
from core.use_cases.doors import LOG_KEY, Doors, open_doors
from tests.integration.callers import client, problem


def readyz(doors: Doors) -> Any:
    with client(doors, create_app(doors)) as caller:
        return caller.get("/readyz", headers={"Authorization": ""})


def flaws(doors: Doors) -> dict[str, str]:
    body = problem(readyz(doors), 503, "unavailable")
    return {one["pointer"].removeprefix("/checks/"): one["detail"] for one in body["errors"]}


def test_a_ready_service_names_everything_that_it_looked_at(doors: Doors) -> None:
    answer = readyz(doors)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": dict.fromkeys(("database", "schema", "key_store", "object_store", "audit_log"), "ok"),
    }


def break_schema(doors: Doors) -> None:
    with doors.database.engine.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'another'"))


def lose_log_key(doors: Doors) -> None:
    doors.keys.destroy([LOG_KEY])


def lose_objects(doors: Doors) -> None:
    if doors.settings.s3_endpoint:
        pytest.skip("the bucket is everybody's; that a store without its bucket is named shows on a server of its own")
    shutil.rmtree(doors.settings.objects)


def lose_ledger_s_head(doors: Doors) -> None:
    (doors.settings.ledger / "checkpoint").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (break_schema, "schema"),
        (lose_log_key, "key_store"),
        (lose_objects, "object_store"),
        (lose_ledger_s_head, "audit_log"),
    ],
)
def test_what_is_broken_is_named_alone(doors: Doors, harm: Callable[[Doors], None], named: str) -> None:
    harm(doors)
    assert set(flaws(doors)) == {named}


def test_a_release_with_two_heads_and_an_error_that_nobody_foresaw_are_told_in_a_sentence(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two_heads = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, two_heads)
    (two_heads / "versions" / "another.py").write_text("revision = 'another'\ndown_revision = None\n")
    monkeypatch.setattr(database, "MIGRATIONS", two_heads)

    def unforeseen(_: Doors) -> str:
        raise ValueError("somebody's value")

    monkeypatch.setitem(readiness.QUESTIONS, "key_store", unforeseen)
    with structlog.testing.capture_logs() as logged:
        told = flaws(doors)
    assert set(told) == {"schema", "key_store"}
    assert "do not end in one revision" in told["schema"]
    assert "somebody" not in str(told)
    assert [one["kind"] for one in logged if one["event"] == "readiness.trouble"] == ["ValueError"]


def test_a_database_that_is_gone_is_named_without_its_address(doors: Doors) -> None:
    url = "postgresql://somebody:secret@127.0.0.1:1/nowhere"
    gone = open_doors(Settings(database_url=url, data_directory=doors.settings.data_directory))
    try:
        with TestClient(create_app(gone)) as caller:
            answer = caller.get("/readyz")
        named = {one["pointer"] for one in problem(answer, 503, "unavailable")["errors"]}
        assert named == {"/checks/database", "/checks/schema", "/checks/audit_log"}
        assert "secret" not in answer.text
        assert "somebody" not in answer.text
    finally:
        gone.database.close()


class Hanging:
    """A store that does not answer until it is released."""

    def __init__(self, store: Any) -> None:
        self.store, self.released, self.asked = store, threading.Event(), 0

    def ping(self) -> None:
        self.asked += 1
        self.released.wait(120)
        raise StoreUnavailable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture
def hanging(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.5)
    store = Hanging(doors.store)
    yield store
    store.released.set()


def test_a_store_that_hangs_is_told_in_time_and_asked_once_while_it_does(doors: Doors, hanging: Hanging) -> None:
    with_it: Doors = replace(doors, store=hanging)
    with client(with_it, create_app(with_it)) as caller:
        for _ in range(5):
            body = problem(caller.get("/readyz"), 503, "unavailable")
            assert body["errors"][-1]["detail"] == readiness.HANGS
            assert caller.get("/healthz").status_code == 200
        assert hanging.asked == 1
        hanging.released.set()
        for thread in threading.enumerate():
            if thread.name == "ready-object_store":
                thread.join(60)
        assert caller.get("/readyz").json()["errors"][-1]["detail"] != readiness.HANGS
        assert hanging.asked == 2
