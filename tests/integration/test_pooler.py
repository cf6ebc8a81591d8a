"""Behind PgBouncer in transaction mode: each transaction may run on another backend, and nothing may outlive it there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.audit.log import leaf_hash, nodes_completed_by, root
from core.persistence import audit
from core.persistence.database import JOBS_CHANNEL, Database
from core.settings import Settings
from core.use_cases.doors import Doors, open_doors
from core.use_cases.prepare_service import prepare_service
from tests.integration import world
from tests.integration.callers import client, subject
from tests.servers import PgBouncer, pgbouncer, postgres

AT_ONCE = 8


@pytest.fixture
def pooler() -> Iterator[PgBouncer]:
    with postgres() as server, pgbouncer(server) as before:
        yield before


@pytest.fixture
def pooled(pooler: PgBouncer, tmp_path: Path) -> Iterator[Doors]:
    """Return the doors of a service that was set up and is reached through the pooler alone, but for LISTEN."""
    settings = Settings(
        database_url=pooler.url,
        database_listen_url=pooler.behind.url,
        prepared_statements=False,
        data_directory=tmp_path / "lethe",
    )
    opened = open_doors(settings)
    world.settle(opened)
    prepare_service(opened)
    yield opened
    opened.database.close()


def test_deletions_travel_from_http_to_certificate(pooled: Doors) -> None:
    world.built(pooled, repair=False)

    def post(number: int) -> dict[str, Any]:
        body = subject(number % 4)  # two about each, so that some are related
        once = {"Idempotency-Key": f"pooled-{number}"}
        answers = [service.post("/v1/deletion-requests", json=body, headers=once) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json()["receipt"] == answers[1].json()["receipt"], "the second is a repeat"
        found: dict[str, Any] = answers[0].json()
        return found

    with client(pooled) as service, ThreadPoolExecutor(AT_ONCE) as threads:
        receipts = list(threads.map(post, range(AT_ONCE)))
    assert len({receipt["id"] for receipt in receipts}) == AT_ONCE
    world.drain(pooled)
    for receipt in receipts:
        request = world.request_of(pooled, receipt["id"])
        assert request["state"] == "completed"
        assert request["certificates"]
    _require_whole_log(pooled)


def test_a_bell_is_heard_beside_the_pooler_and_not_through_it(pooled: Doors) -> None:
    world.built(pooled, repair=False)
    deaf = open_doors(pooled.settings.model_copy(update={"database_listen_url": ""}))
    with_pooler, beside = deaf.database.listen(JOBS_CHANNEL), pooled.database.listen(JOBS_CHANNEL)
    world.ask(pooled, 1)
    assert beside.wait(5) == ["deactivate"]
    assert with_pooler.wait(0.5) == []
    beside.close()
    with_pooler.close()
    deaf.database.close()


def test_the_limit_of_idle_transactions_holds_behind_a_pooler(pooler: PgBouncer, pooled: Doors) -> None:
    with pgbouncer(pooler.behind) as fresh:  # whose backends log in now: prepared is the login, not a connection
        database = Database(fresh.url, prepared=False)
        with database.transaction() as session:
            assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "1min"
        database.close()
    assert pooled.database.url == pooler.url, "it was prepared through a pooler, too"


def _require_whole_log(doors: Doors) -> None:
    with doors.database.engine.connect() as session:
        entries, head = audit.head(session)
        grown: dict[tuple[int, int], bytes] = {}
        for index, body in enumerate(audit.bodies(session)):
            for level, place, value in nodes_completed_by(index, leaf_hash(body), lambda *at: grown[at]):
                grown[level, place] = value
    assert root(entries, lambda *at: grown[at]) == head
