"""One door to PostgreSQL: transactions that commit in one place, and ears for its notifications.

`transaction()` is the only place that commits: everything inside one `with` happens together or not at all.
Isolation is READ COMMITTED, which the log's lock needs: a stricter level would read the log as it was before waiting.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import structlog
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.pool import NullPool

from core import metrics
from core.audit.entry import Actor, ActorKind
from core.domain.errors import OvertakenByDeletion, StaleFence, Unusable
from core.persistence import audit, round_trips, webhooks

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
JOBS_CHANNEL = "lethe_jobs"
VERSIONS_CHANNEL = "lethe_versions"
NOTIFY = "SELECT pg_notify(%(channel)s, %(payload)s)"
VIGILANCE = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How soon a connection notices that its host has vanished, in seconds, and in milliseconds for what was sent and not
acknowledged: nobody hangs on it for the kernel's quarter of an hour. What the address says of them wins."""
LIMIT_IDLE = """
    DO $$ BEGIN
      IF NOT EXISTS (
        SELECT FROM pg_db_role_setting, unnest(setconfig) AS one
        WHERE starts_with(one, 'idle_in_transaction_session_timeout=')
          AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND setrole = (SELECT oid FROM pg_roles WHERE rolname = session_user)
      ) THEN
        EXECUTE 'ALTER ROLE ' || quote_ident(session_user) || ' IN DATABASE ' || quote_ident(current_database())
          || ' SET idle_in_transaction_session_timeout = ''60s''';
      END IF;
    END $$"""
"""How long a transaction may say nothing before PostgreSQL ends it, and with it the locks of a process that was stopped.

The database keeps it for our login, so that it holds behind a pooler too, which would refuse it as an option of the
connection and lose it as a statement of the session. A value that an operator has set stays."""
UNHURRIED = "SET LOCAL idle_in_transaction_session_timeout = 0"
log = structlog.get_logger()
SYSTEM = Actor(ActorKind.SYSTEM, "lethe")


class Database:
    """Connections to one PostgreSQL database."""

    def __init__(self, url: str, *, listen_url: str = "", pool_size: int = 20, prepared: bool = True) -> None:
        """Open nothing yet.

        Args:
            url: `postgresql://…`, with or without a driver name.
            listen_url: the same database for `listen`, where `url` leads to a pooler, which carries no LISTEN.
            pool_size: most connections that are open at once, those of listeners besides.
            prepared: whether statements are prepared; not for poolers that hand a transaction to any backend.
        """
        self.url = _without_driver(url)
        self.listen_url = _without_driver(listen_url) or self.url
        self.engine: Engine = create_engine(
            self.url.replace("postgresql://", "postgresql+psycopg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            # The connection used last is used next: its plans are prepared and its backend's caches warm.
            pool_use_lifo=True,
            connect_args={"prepare_threshold": 2 if prepared else None} | vigilance(self.url),
            # Without it SQLAlchemy forgets how many rows an INSERT … ON CONFLICT DO NOTHING really inserted.
            execution_options={"preserve_rowcount": True},
        )
        event.listen(self.engine, "before_cursor_execute", round_trips.send_first)
        event.listen(self.engine, "rollback", round_trips.forget_prepared)
        event.listen(self.engine, "reset", round_trips.forget_reset)
        self._unbound = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self, actor: Actor = SYSTEM, *, shared_flush: bool = False) -> Iterator[Connection]:
        """Commit at the end of the `with`, after logging what was noted in it; roll everything back if it raises.

        Args:
            actor: who acts, as the log says it.
            shared_flush: let the log's lock go before the disk has the commit. What was written is as safe once the
                `with` ends; a moment before, others may see what a power cut would still undo. For those who answer
                somebody, not for those who sign: see `docs/decisions/2026-11-log-entries-at-the-end.md`.
        """
        try:
            with self.engine.begin() as session, round_trips.collecting(session):
                audit.begin(session, actor)
                webhooks.begin(session)
                if shared_flush:
                    round_trips.share_flush(session)
                yield session
                webhooks.flush(session)
                audit.append(session)
                # The log's lock is held for no round trip; the `with` finds nothing left to commit.
                round_trips.commit(session, shared_flush=shared_flush)
        except (StaleFence, OvertakenByDeletion) as refused:
            metrics.write_refused(refused.code)
            log.info("write.refused", reason=refused.code)
            raise
        except InternalError as error:
            if isinstance(error.orig, psycopg.errors.IdleInTransactionSessionTimeout):
                # This process was stopped in the middle, and its locks are another's: as if the database had gone away.
                raise OperationalError(None, None, error.orig, connection_invalidated=True) from error
            raise

    def glance(self) -> AbstractContextManager[Connection]:
        """Lend a connection for a single question, with no transaction around it."""
        return self._unbound.connect()

    def listen(self, *channels: str) -> Listener:
        return Listener(self.listen_url, channels)

    def wait_until_ready(self, seconds: float) -> None:
        """Return once the server answers.

        Raises:
            Unusable: it did not within `seconds`.
        """
        give_up = time.monotonic() + seconds
        while True:
            try:
                with self.engine.connect() as session:
                    session.execute(text("SELECT 1"))
            except OperationalError:
                if time.monotonic() > give_up:
                    raise Unusable(f"the database does not answer after {seconds:.0f} seconds") from None
                time.sleep(0.1)
            else:
                return

    def close(self) -> None:
        self.engine.dispose()


def _without_driver(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


class Listener:
    """A connection of its own that waits for NOTIFY; the waking is a hint, so callers also look on their own."""

    def __init__(self, url: str, channels: tuple[str, ...]) -> None:
        self._connection = psycopg.connect(url, autocommit=True, **vigilance(url))
        for channel in channels:
            self._connection.execute(f"LISTEN {channel}")

    def wait(self, seconds: float) -> list[str]:
        """Return the payloads that arrived; wait up to `seconds` for the first one."""
        return [notice.payload for notice in self._connection.notifies(timeout=seconds, stop_after=1)]

    def close(self) -> None:
        self._connection.close()


def is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot be reached, or is being shut down; not that it refused something."""
    if not isinstance(error, OperationalError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def vigilance(url: str) -> dict[str, Any]:
    """Return the options of a connection to that address, without those that the address gives."""
    given = conninfo_to_dict(url)
    return {name: value for name, value in VIGILANCE.items() if name not in given}


def unhurried(session: Connection) -> None:
    """Let a transaction that only reads, and locks nobody out, wait for stores and files for as long as they take."""
    session.execute(text(UNHURRIED))


def clock(session: Connection) -> datetime:
    """Return the database's time, which all machines share, however their own clocks go."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def notify(session: Connection, channel: str, payload: str) -> None:
    """Ring the bell when, and only when, this transaction commits."""
    round_trips.later(session, NOTIFY, {"channel": channel, "payload": payload})


def migration_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def schema_heads(database: Database) -> tuple[str | None, str | None]:
    """Return the schema's revision in the database and the one this code is written for."""
    with database.engine.connect() as session:
        current = MigrationContext.configure(session).get_current_revision()
    return current, ScriptDirectory(str(MIGRATIONS)).get_current_head()


def schema_is_newer(database: Database) -> bool:
    """Whether the database was migrated by a later release than this one."""
    current, _ = schema_heads(database)
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    return current is not None and current not in known


def refuse_newer_schema(database: Database) -> None:
    """Check that this release knows the database's schema.

    Raises:
        Unusable: it belongs to a newer release.
    """
    if schema_is_newer(database):
        raise Unusable("the database has a newer schema than this release of Lethe knows; start the newer release")


def migration_sql(start: str) -> str:
    """Return the SQL from a revision (`base`: an empty database) up to this release, as one transaction.

    Raises:
        alembic.util.CommandError: there is no such revision.
    """
    from alembic import command

    config = migration_config("postgresql+psycopg://")
    config.output_buffer = written = io.StringIO()
    command.upgrade(config, f"{start}:head", sql=True)
    return written.getvalue()


def migrate(database: Database) -> None:
    """Bring the schema up to this release; safe to call from many processes at once.

    Raises:
        Unusable: the schema belongs to a newer release.
    """
    refuse_newer_schema(database)
    from alembic import command

    engine = create_engine(database.engine.url, poolclass=NullPool)
    with engine.begin() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('lethe migrations'))"))
        config = migration_config(database.url)
        config.attributes["connection"] = session
        command.upgrade(config, "head")
        session.exec_driver_sql(LIMIT_IDLE)
    engine.dispose()
