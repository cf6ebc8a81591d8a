"""Statements that travel together: one round trip to the server for many of them.

    together   ask several questions at once
    later      write something by the end of the transaction; it waits for company
    send       let what waits go
    commit     the door's last words: what waits, and the commit in the same breath

What waits goes before any other statement of the transaction does, so everybody finds what was written before. A
statement here is a constant text of SQL with `%(name)s` in it, which the server plans once. psycopg's pipeline carries
them: where one fails, the server passes over those behind it, the commit included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_WAITING = "lethe_waiting"

Values = Mapping[str, Any]
Question = tuple[str, Values]
"""A statement and what to fill in."""
Hear = Callable[[Any], None]
"""Takes the one row that a statement returns."""


LET_GO = "SET LOCAL synchronous_commit = off"
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
    with _driver(session, alone=len(waiting) + len(questions) == 1) as driver:
        told = [driver.execute(statement, values) for statement, values, _ in waiting]
        asked = [_asked(driver, statement, values) for statement, values in questions]
    for cursor, (_, _, hear) in zip(told, waiting, strict=True):
        if hear is not None:
            hear(cursor.fetchone())
    return [cursor.fetchall() if cursor.description else [] for cursor in asked]


def ask(session: Connection, statement: str, **values: Any) -> list[Any]:
    """Return the rows of one question."""
    [rows] = together(session, (statement, values))
    return rows


def send(session: Connection) -> None:
    """Carry out what waits."""
    if session.info.get(_WAITING):
        together(session)


def commit(session: Connection, *, shared_flush: bool) -> None:
    """Carry out what waits and commit, in one round trip; where nothing waits, leave the commit to the `with`.

    With `shared_flush`, locks are let go as soon as the others may see what was written, and the disk is waited for
    afterwards, by a transaction that writes one word: PostgreSQL flushes its log in order, so what was committed before
    is on the disk once that is, and one flush serves all who wait. Without it, whoever waits for a lock waits for the
    disk as well, and for that of everybody before them.
    """
    if session.info[_WAITING]:
        last: list[Question] = [(LET_GO, {}), ("COMMIT", {}), (AWAIT_DISK, {})] if shared_flush else [("COMMIT", {})]
        together(session, *last)


def send_first(session: Connection, *_: Any) -> None:
    """Carry out what waits before somebody else's statement; listens to the engine's `before_cursor_execute`."""
    send(session)


def _asked(driver: psycopg.Connection[Any], statement: str, values: Values) -> psycopg.Cursor[Any]:
    return driver.cursor(row_factory=namedtuple_row).execute(statement, values)


def array(values: Iterable[str | bytes | bool | None]) -> str:
    """Write an array as PostgreSQL reads it; the driver would look at the type of every element, at every call."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | bytes | bool | None) -> str:  # noqa: FBT001 - it is a value
    if isinstance(value, str):
        escaped = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{escaped}"'
    if isinstance(value, bytes):
        return rf'"\\x{value.hex()}"'
    return "NULL" if value is None else str(value)


@contextmanager
def _driver(session: Connection, *, alone: bool) -> Iterator[psycopg.Connection[Any]]:
    """Lend the driver's connection, in a pipeline unless a statement is alone; tell of errors as SQLAlchemy does."""
    driver: Any = session.connection.driver_connection
    try:
        with nullcontext() if alone else driver.pipeline():
            yield driver
    except psycopg.Error as error:
        gone = bool(driver.closed)
        if gone:
            session.invalidate(error)
            session.engine.dispose()  # the others in the pool are of the same server, and most likely gone as well
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=gone
        ) from error
