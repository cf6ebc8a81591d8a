"""Statements that travel together: one round trip to the server for many of them.

    together   ask several questions at once
    later      write something by the end of the transaction; it waits for company
    send       let what waits go
    commit     the door's last words: what waits, and the commit in the same breath

What waits goes before any other statement of the transaction does, so everybody finds what was written before. A
statement here is a constant text of SQL with `%(name)s` in it, which the server plans once. A pipeline (`wire.py`)
carries them: where one fails, the server passes over those behind it, the commit included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from core.persistence.wire import Values, Wire

_WAITING, _WIRE = "lethe_waiting", "lethe_wire"

Question = tuple[str, Values]
"""A statement and what to fill in."""
Hear = Callable[[Any], None]
"""Takes the one row that a statement returns."""


LET_GO = (
    "SELECT set_config('synchronous_commit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)"
)
"""For this transaction: commit without waiting for the disk; and do not plan constant statements anew for their values,
which PostgreSQL does with arrays, as it takes those of a general plan for longer ones."""
AWAIT_DISK = "SELECT pg_logical_emit_message(true, 'lethe', '')"


@contextmanager
def collecting(session: Connection) -> Iterator[None]:
    """Let statements wait during this transaction, and no longer."""
    info = session.info  # of the driver's connection, which others get after us
    info[_WAITING] = []
    try:
        yield
    finally:
        info.pop(_WAITING, None)


def later(session: Connection, statement: str, values: Values, hear: Hear | None = None) -> None:
    """Have a statement carried out before the next one that is not in this queue, or with the commit.

    Args:
        session: the transaction whose fate it shares.
        statement: a constant; its values stand in `values`.
        values: by name.
        hear: is told the row that it returns, once it was carried out.
    """
    session.info[_WAITING].append((statement, values, hear))


def together(session: Connection, *questions: Question) -> list[list[Any]]:
    """Ask in one round trip and return the rows of each question, whose columns are attributes.

    They are answered one after the other: a lock that one takes is held before the next one looks.
    """
    waiting = session.info.get(_WAITING) or []
    if waiting:
        session.info[_WAITING] = []
    with _wire(session) as wire:
        answers = wire.carry([*(one[:2] for one in waiting), *questions])
        for answer, (_, _, hear) in zip(answers, waiting, strict=False):
            if hear is not None:
                hear(wire.rows(answer)[0])
        return [wire.rows(answer) for answer in answers[len(waiting) :]]


def ask(session: Connection, statement: str, **values: Any) -> list[Any]:
    """Return the rows of one question."""
    [rows] = together(session, (statement, values))
    return rows


def send(session: Connection) -> None:
    """Carry out what waits."""
    if session.info.get(_WAITING):
        together(session)


def share_flush(session: Connection) -> None:
    """Begin a transaction that lets its locks go before the disk has its commit; `commit` must end it."""
    later(session, LET_GO, {})


def commit(session: Connection, *, shared_flush: bool) -> None:
    """Carry out what waits and commit, in one round trip; where nothing waits, leave the commit to the `with`.

    With `shared_flush`, locks are let go as soon as the others may see what was written, and the disk is waited for
    afterwards, by a transaction that writes one word: PostgreSQL flushes its log in order, so what was committed before
    is on the disk once that is, and one flush serves all who wait. Without it, whoever waits for a lock waits for the
    disk as well, and for that of everybody before them.
    """
    if shared_flush:
        together(session, ("COMMIT", {}), (AWAIT_DISK, {}))
    elif session.info[_WAITING]:
        together(session, ("COMMIT", {}))


def send_first(session: Connection, *_: Any) -> None:
    """Carry out what waits before somebody else's statement; listens to the engine's `before_cursor_execute`."""
    send(session)


def forget_prepared(session: Connection) -> None:
    """Take note that this connection rolls back; listens to the engine's `rollback`."""
    if not session.invalidated:
        _forget(session.info)


def forget_reset(driver: psycopg.Connection[Any], record: ConnectionPoolEntry, _: PoolResetState) -> None:
    """Take note that a transaction is about to be rolled back which only we know of; listens to the pool's `reset`."""
    if driver.pgconn.transaction_status != TransactionStatus.IDLE:
        _forget(record.info)


def _forget(info: dict[Any, Any]) -> None:
    wire: Wire | None = info.get(_WIRE)
    if wire is not None:
        wire.forget()


@contextmanager
def _wire(session: Connection) -> Iterator[Wire]:
    """Lend the wire of the driver's connection; tell of errors as SQLAlchemy does."""
    driver: Any = session.connection.driver_connection
    wire: Wire | None = session.info.get(_WIRE)
    if wire is None:
        wire = session.info[_WIRE] = Wire(driver)
    try:
        yield wire
    except psycopg.Error as error:
        gone = bool(driver.closed)
        if gone:
            session.invalidate(error)
            session.engine.dispose()  # the others in the pool are of the same server, and most likely gone as well
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=gone
        ) from error
