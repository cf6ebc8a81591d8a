"""The migrations and the tables in the code say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, create_engine, make_url, text

from core.domain.errors import Unusable
from core.domain.identifiers import new_identifier
from core.persistence import audit, datasets, jobs, models, nodes, requests, tenants, versions
from core.persistence.database import MIGRATIONS, Database, migrate, schema_heads
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
