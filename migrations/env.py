"""Run migrations on the connection that `core.persistence.database.migrate` hands in, inside its transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

# Importing the nouns registers their tables.
from core.persistence import audit, datasets, drafts, jobs, models, nodes, requests, tenants, versions  # noqa: F401
from core.persistence.tables import metadata

LIMITS = ("SET LOCAL lock_timeout = '10s'", "SET LOCAL statement_timeout = '1h'")
"""A migration that cannot get its lock must give up, not queue in front of everybody else; nor may it run for ever."""


def run() -> None:
    connection = context.config.attributes.get("connection")
    if context.is_offline_mode():
        context.configure(
            url=context.config.get_main_option("sqlalchemy.url"), target_metadata=metadata, literal_binds=True
        )
        with context.begin_transaction():
            for limit in LIMITS:
                context.execute(limit)
            context.run_migrations()
        return
    if connection is None:
        url = (context.config.get_main_option("sqlalchemy.url") or "").replace(
            "postgresql://", "postgresql+psycopg://", 1
        )
        connection = create_engine(url, poolclass=pool.NullPool).connect()
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        for limit in LIMITS:
            connection.execute(text(limit))
        context.run_migrations()


run()
