"""The migrations and the tables in the code say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from cli.main import app
from core.domain.errors import Unusable
from core.domain.identifiers import new_identifier
from core.persistence import audit, datasets, jobs, models, nodes, requests, tenants, versions
from core.persistence.database import MIGRATIONS, Database, migrate, migration_config, schema_heads
from core.persistence.tables import metadata

NOUNS = (audit, datasets, jobs, models, nodes, requests, tenants, versions)


@pytest.fixture
def database(server_url: str) -> Iterator[Database]:
    """An empty database of its own."""
    name = new_identifier("test")
    maker = create_engine(make_url(server_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with maker.connect() as session:
        session.execute(text(f'CREATE DATABASE "{name}"'))
    mine = Database(make_url(server_url).set(database=name).render_as_string(hide_password=False))
    yield mine
    mine.close()
    with maker.connect() as session:
        session.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    maker.dispose()


def test_the_migrated_schema_is_what_the_tables_in_the_code_say(database: Database) -> None:
    assert len(metadata.sorted_tables) >= len(NOUNS)
    migrate(database)
    with database.engine.connect() as session:
        context = MigrationContext.configure(session, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database)
    migrate(database)
    current, head = schema_heads(database)
    assert current == head is not None


def test_there_is_one_head_and_each_file_is_named_after_its_revision() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert len(scripts.get_heads()) == 1
    for script in scripts.walk_revisions():
        assert Path(script.path).stem == script.revision


def test_every_check_in_the_code_stands_in_the_database(database: Database) -> None:
    """Alembic does not compare check constraints, so they are looked up here."""
    migrate(database)
    checks = [
        constraint
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    ]
    with database.engine.connect() as session:
        written = session.dialect.identifier_preparer.format_constraint
        named = {written(check) for check in checks}
        found = set(session.execute(text("SELECT conname FROM pg_constraint WHERE contype = 'c'")).scalars())
    assert named
    assert named - found == set()


def test_a_schema_from_a_later_release_is_refused_with_a_sentence(database: Database) -> None:
    migrate(database)
    with database.engine.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '2999_01_01_from_the_future'"))
    with pytest.raises(Unusable, match="newer schema"):
        migrate(database)


def test_an_entry_of_the_log_can_neither_be_changed_nor_deleted(database: Database) -> None:
    migrate(database)
    with database.transaction() as session:
        tenants.ensure_tenant(session, "ten_default")
    for statement in ("UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"):
        with pytest.raises(Exception, match="append") as refused, database.engine.begin() as session:
            session.execute(text(statement))
        assert refused.value is not None
    with database.engine.connect() as session:
        assert session.execute(text("SELECT count(*) FROM audit_entries")).scalar_one() > 0


FIRST = "2026_11_21_first_schema"


@pytest.fixture
def older(database: Database) -> Database:
    """A database as the first release left it."""
    with database.engine.begin() as session:
        config = migration_config(database.url)
        config.attributes["connection"] = session
        command.upgrade(config, FIRST)
    return database


def test_a_dry_run_prints_what_would_be_run_here_and_changes_nothing(
    older: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETHE_DATABASE_URL", older.url)
    monkeypatch.setenv("LETHE_DATA_DIRECTORY", str(tmp_path))
    told = CliRunner().invoke(app, ["migrate", "up", "--dry-run"])
    assert told.exit_code == 0, told.output
    assert "CREATE TABLE jobs" not in told.stdout
    assert "lock_timeout" in told.stdout
    assert schema_heads(older)[0] == FIRST
    # What was printed is what is needed, no more and no less.
    with older.engine.begin() as session:
        session.connection.driver_connection.execute(told.stdout.replace("BEGIN;", "").replace("COMMIT;", ""))  # type: ignore[union-attr]
    current, head = schema_heads(older)
    assert current == head
    with older.engine.connect() as session:
        assert compare_metadata(MigrationContext.configure(session), metadata) == []
    again = CliRunner().invoke(app, ["migrate", "up", "--dry-run"])
    assert (again.exit_code, again.stdout) == (0, "")


def test_a_migration_goes_down_and_up_again(older: Database) -> None:
    migrate(older)
    with older.engine.begin() as session:
        config = migration_config(older.url)
        config.attributes["connection"] = session
        command.downgrade(config, FIRST)
        assert session.execute(text("SELECT count(*) FROM pg_trigger WHERE tgname = 'jobs_moves'")).scalar() == 0
    migrate(older)
    with older.engine.connect() as session:
        assert compare_metadata(MigrationContext.configure(session), metadata) == []


def test_a_migration_that_cannot_get_its_lock_gives_up(older: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    page = MIGRATIONS / "env.py"
    assert "SET LOCAL lock_timeout = '10s'" in page.read_text()
    quick = page.read_text().replace("lock_timeout = '10s'", "lock_timeout = '200ms'")
    monkeypatch.setattr("alembic.script.ScriptDirectory.run_env", lambda _: exec(compile(quick, str(page), "exec"), {}))  # noqa: S102
    with older.engine.begin() as session:
        session.execute(text("SELECT * FROM jobs"))  # a reader that does not end
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(older)
    assert schema_heads(older)[0] == FIRST
