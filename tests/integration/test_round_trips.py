"""What waits, travels together, and commits in the same breath: seen by all who look, and on the disk when it says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from core.audit.entry import Action, read_entry
from core.audit.log import leaf_hash, node_hash, root
from core.persistence import audit, tenants
from core.persistence.database import NOTIFY, Database, migrate, notify
from core.persistence.round_trips import ask, later, together
from core.persistence.wire import array
from tests.servers import postgres

ADD = "INSERT INTO tenants (tenant_id) VALUES (%(name)s)"
ALL = "SELECT tenant_id FROM tenants WHERE tenant_id LIKE 'ten_test%%' ORDER BY tenant_id"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url)
    yield found
    found.close()


def names(database: Database) -> list[str]:
    with database.glance() as session:
        return [row.tenant_id for row in ask(session, ALL)]


def test_what_waits_is_there_for_whoever_asks_next(database: Database) -> None:
    with database.transaction() as session:
        later(session, ADD, {"name": "ten_test_1"})
        assert [row.tenant_id for row in ask(session, ALL)] == ["ten_test_1"]
        later(session, ADD, {"name": "ten_test_2"})
        assert session.execute(text("SELECT count(*) FROM tenants WHERE tenant_id = 'ten_test_2'")).scalar_one() == 1
        later(session, ADD, {"name": "ten_test_3"})
    assert names(database) == ["ten_test_1", "ten_test_2", "ten_test_3"]


@pytest.mark.parametrize("shared_flush", [False, True])
def test_one_statement_that_fails_takes_all_with_it(database: Database, shared_flush: bool) -> None:  # noqa: FBT001
    with database.engine.connect() as session:
        before = audit.size(session)

    def twice() -> None:
        with database.transaction(shared_flush=shared_flush) as session:
            for _ in range(2):
                later(session, ADD, {"name": "ten_test"})
            _note(session, 0, 0)

    with pytest.raises(IntegrityError):
        twice()
    assert names(database) == []
    with database.engine.connect() as session:
        assert audit.size(session) == before


def test_what_waited_in_a_transaction_that_failed_is_not_sent_by_the_next(database: Database) -> None:
    _broken_off(database, ADD, name="ten_test")
    with database.engine.begin() as session:  # the same connection of the pool
        session.execute(text("SELECT 1"))
    assert names(database) == []


def test_a_bell_rings_with_the_commit_and_not_without(database: Database) -> None:
    ears = database.listen("lethe_jobs")
    _broken_off(database, NOTIFY, channel="lethe_jobs", payload="lost")
    with database.transaction() as session:
        notify(session, "lethe_jobs", "heard")
    assert ears.wait(5) == ["heard"]
    ears.close()


def test_a_lost_server_costs_one_error_and_not_one_for_each_connection_in_the_pool(database: Database) -> None:
    with database.transaction() as first, database.transaction() as second, database.transaction() as third:
        for session in (first, second, third):
            ask(session, "SELECT 1 AS one")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with pytest.raises(DBAPIError) as lost, database.transaction() as session:
        together(session, (others, {}), ("SELECT 1 AS one", {}))
    assert lost.value.connection_invalidated
    for _ in range(3):
        with database.transaction() as session:
            assert ask(session, "SELECT 1 AS one")[0].one == 1


def test_an_array_arrives_as_it_was(database: Database) -> None:
    words = ["plain", 'a "quotation", {braces}', r"back\slash", "", "NULL", None]
    digests = [b"", bytes(range(256)), b'"\\']
    with database.transaction() as session:
        [[row]] = together(
            session,
            (
                "SELECT %(words)s::text[] AS words, %(digests)s::bytea[] AS digests, %(signs)s::boolean[] AS signs",
                {"words": array(words), "digests": array(digests), "signs": array([True, False])},
            ),
        )
    assert (row.words, row.digests, row.signs) == (words, digests, [True, False])


def test_the_database_grows_the_tree_that_the_audit_defines(database: Database) -> None:
    """At every size up to 20, in appends of one to four entries."""
    with database.transaction() as session:
        first = audit.flush(session) or [audit.size(session)]
    noted: list[audit.Noted] = []
    for number in range(8):
        with database.transaction(shared_flush=True) as session:
            noted += [_note(session, number, part) for part in range(1 + number % 4)]
        with database.engine.connect() as session:
            entries, head = audit.head(session)
            leaves = [leaf_hash(body) for body in audit.bodies(session)]
            assert head == root(entries, lambda level, index, leaves=leaves: _subtree(leaves, level, index))  # type: ignore[misc]
    assert [one.index for one in noted] == list(range(first[0], first[0] + len(noted)))
    with database.engine.connect() as session:
        rows = audit.list_entries(session, "ten_test", limit=100, after=None)
    told = [read_entry(bytes(row.body)) for row in rows]
    assert [one["refs"]["records"] for one in told] == [one.refs["records"] for one in noted]
    assert [one["at"] for one in told] == [row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for row in rows]
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)


def _broken_off(database: Database, statement: str, **values: str) -> None:
    def begun() -> None:
        with database.transaction() as session:
            later(session, statement, values)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begun()


def _note(session: Any, number: int, part: int) -> audit.Noted:
    return audit.note(session, Action.LOG_CHECKPOINT, tenant="ten_test", object="log", records=10 * number + part)


def _subtree(leaves: list[bytes], level: int, index: int) -> bytes:
    if level == 0:
        return leaves[index]
    return node_hash(_subtree(leaves, level - 1, 2 * index), _subtree(leaves, level - 1, 2 * index + 1))


def test_what_was_committed_with_a_shared_flush_outlasts_a_crash() -> None:
    """The server is killed with its memory at once: whatever it had not written yet is gone."""
    with postgres() as server:
        database = Database(server.variables()["LETHE_DATABASE_URL"])
        migrate(database)
        for number in range(3):
            with database.transaction(shared_flush=True) as session:
                tenants.ensure_tenant(session, f"ten_test_{number}")
            server.kill()
            server.start()
            database.close()
            assert names(database) == [f"ten_test_{known}" for known in range(number + 1)]
        with database.engine.connect() as session:
            assert audit.size(session) >= 3
        database.close()


def test_a_statement_is_prepared_once_and_none_is_left_behind_by_rollbacks(database: Database) -> None:
    """psycopg deallocates whatever a connection has prepared when it rolls back, if it prepared something itself."""
    for _ in range(3):
        with database.transaction() as session:
            for _ in range(4):  # psycopg prepares it as well
                session.execute(text("SELECT 1"))
            assert ask(session, ALL) == []
        _broken_off(database, ADD, name="ten_test")
        with database.engine.connect() as session:  # nobody but us knows of its transaction
            ask(session, ALL)
    with database.transaction() as session:
        ask(session, ALL)
        found = ask(session, "SELECT count(*) AS ours FROM pg_prepared_statements WHERE statement LIKE '%%ten_test%%'")
    assert found[0].ours <= 2


def test_a_column_that_is_added_meanwhile_costs_one_error(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE grown (one integer)"))
    with database.transaction() as session:
        assert ask(session, "SELECT * FROM grown") == []
    other = Database(database.url)
    with other.transaction() as session:
        session.execute(text("ALTER TABLE grown ADD COLUMN two integer"))
        session.execute(text("INSERT INTO grown VALUES (1, 2)"))
    other.close()
    with pytest.raises(DBAPIError), database.transaction() as session:
        ask(session, "SELECT * FROM grown")
    with database.transaction() as session:
        assert ask(session, "SELECT * FROM grown")[0].two == 2


def test_much_travels_in_one_pipeline(database: Database) -> None:
    """More than the buffers between us and the server hold: neither side may wait for the other."""
    with database.transaction() as session:
        asked = [("SELECT %(long)s::text AS long", {"long": str(number) * 200_000}) for number in range(10)]
        answers = together(session, *asked)
    assert [rows[0].long for rows in answers] == [values["long"] for _, values in asked]


def test_what_no_text_can_hold_is_refused_and_the_connection_stays(database: Database) -> None:
    with pytest.raises(DataError), database.transaction() as session:
        ask(session, "SELECT %(word)s::text AS word", word="a\x00b")
    with pytest.raises(DataError), database.transaction() as session:
        ask(session, "SELECT %(words)s::text[] AS words", words=["a\x00b"])
    with database.transaction() as session:
        assert ask(session, "SELECT 1 AS one")[0].one == 1
