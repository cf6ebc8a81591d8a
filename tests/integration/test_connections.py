"""Connections notice a host that is gone, and a process that stops with a lock in its hands does not keep it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from cli import audit as audit_command
from core.persistence import audit, models
from core.persistence.database import VIGILANCE, Database, migrate, unhurried, vigilance
from core.persistence.round_trips import ask
from core.use_cases.check_consistency import check_consistency
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.world import built

LIMIT = "SHOW idle_in_transaction_session_timeout"


def limit(database: Database) -> str:
    with database.transaction() as session:
        return str(session.execute(text(LIMIT)).scalar_one())


@pytest.fixture
def impatient(doors: Doors) -> Iterator[Database]:
    """Return the database of `doors`, which ends transactions that are idle for 200 ms."""
    with doors.database.transaction() as session:
        session.execute(
            text(
                "DO $$ BEGIN EXECUTE 'ALTER ROLE ' || quote_ident(session_user) || ' IN DATABASE ' || "
                "quote_ident(current_database()) || ' SET idle_in_transaction_session_timeout = 200'; END $$"
            )
        )
    database = Database(doors.database.url)
    yield database
    database.close()


def test_every_connection_notices_a_host_that_is_gone(doors: Doors) -> None:
    listener = doors.database.listen("nothing")
    with doors.database.engine.connect() as session:
        for driver in (session.connection.driver_connection, listener._connection):
            asked: Any = driver
            given = asked.info.get_parameters()
            assert {name: given[name] for name in VIGILANCE} == {name: str(value) for name, value in VIGILANCE.items()}
    listener.close()


def test_what_the_address_says_wins() -> None:
    assert "connect_timeout" not in vigilance("postgresql://somebody@host/lethe?connect_timeout=3")
    assert vigilance("postgresql://somebody@host/lethe") == VIGILANCE


def test_the_database_keeps_the_limit_for_whoever_logs_in_and_an_operators_own_stays(doors: Doors) -> None:
    fresh = Database(doors.database.url)
    assert limit(fresh) == "1min", "as it was prepared, with no option of the connection: a pooler's backend has it too"
    fresh.close()


def test_a_limit_that_an_operator_has_set_stays(impatient: Database) -> None:
    migrate(impatient)
    again = Database(impatient.url)
    assert limit(again) == "200ms"
    again.close()


@pytest.mark.parametrize("look", [audit.size, lambda session: ask(session, "SELECT 1 AS one")], ids=["alone", "wire"])
def test_who_stops_with_a_models_lock_loses_it_and_hears_that_the_database_is_away(
    doors: Doors, impatient: Database, look: Callable[[Connection], Any]
) -> None:
    model = built(doors, repair=False)
    with doors.database.transaction() as session:
        name = session.execute(text("SELECT id FROM models")).scalar_one()

    def stop_in_the_middle() -> None:
        with impatient.transaction() as stopped:
            models.lock_model(stopped, name)
            with doors.database.transaction() as other:
                models.lock_model(other, name)  # it is waited for, and comes
            look(stopped)

    with pytest.raises(OperationalError):
        stop_in_the_middle()
    with impatient.transaction() as after:
        assert audit.size(after) > 0, "the next transaction has another connection"
    assert model


def test_what_only_reads_may_take_its_time(impatient: Database) -> None:
    with impatient.transaction() as session:
        unhurried(session)
        time.sleep(0.5)
        assert session.execute(text(LIMIT)).scalar_one() == "0"


class SlowReader(io.BytesIO):
    """The other end of a pipe, which takes longer for each page than a transaction may be idle."""

    def writelines(self, lines: Any) -> None:
        time.sleep(0.3)
        super().writelines(lines)


def test_the_log_is_written_out_page_by_page_however_slow_its_reader(
    doors: Doors, impatient: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(doors, repair=False)
    world.ask(doors, 5)
    monkeypatch.setattr(audit_command, "AT_ONCE", 7)
    slow = SlowReader()
    with doors.database.transaction() as session:
        expected = list(audit.bodies(session))
    assert audit_command._write(doors_with(doors, impatient), slow) == len(expected) > 7
    assert slow.getvalue().splitlines() == expected
    assert check_consistency(doors_with(doors, impatient)) == []


def doors_with(doors: Doors, database: Database) -> Doors:
    from dataclasses import replace

    return replace(doors, database=database)
