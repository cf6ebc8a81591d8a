"""A pipeline of constant statements on a connection of psycopg's, written for little of this process's time.

    Wire.carry    send statements with their values, all at once, and return what each was answered
    array         write an array as one value

psycopg's own pipeline does the same with a cursor, a search for dumpers and several polls of the socket for each
statement, which took most of what accepting a deletion costs here. This one knows what it carries: texts that never
change, each prepared once in a connection, with values of a few kinds, which travel as text. The types are the
server's to find, so a statement says `%(number)s::integer` where its context does not.

It stands on `psycopg.pq`, libpq as psycopg publishes it; rows are read by psycopg's own loaders.
"""

from __future__ import annotations

import re
import select
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

Values = Mapping[str, Any]
_PLACE = re.compile(r"%\((\w+)\)s|%%")
_DONE, _SYNC = ExecStatus.COMMAND_OK, ExecStatus.PIPELINE_SYNC
_WELL = frozenset({ExecStatus.TUPLES_OK, _DONE, ExecStatus.PIPELINE_ABORTED})
_READ, _READ_AND_WRITE = select.POLLIN, select.POLLIN | select.POLLOUT


class Wire:
    """What is remembered about one connection: the statements it has prepared, and how to read its rows."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        self._transformer = Transformer(driver)
        self._prepared: dict[str, bytes] = {}
        self._stale: list[bytes] = []
        self._names = 0

    def forget(self) -> None:
        """Prepare everything anew from now on: psycopg deallocates all of a connection's statements as it rolls back."""
        # Those that it left are closed with the next statement; to close one that is gone is no error.
        self._stale += self._prepared.values()
        self._prepared.clear()

    def carry(self, statements: Sequence[tuple[str, Values]]) -> list[PGresult]:
        """Carry statements out one after the other, in one round trip, and return what each was answered: see `rows`.

        A transaction is begun before the first one where none is, unless the connection is in autocommit. Where one
        fails, the server passes over those behind it.

        Args:
            statements: constant texts with `%(name)s` in them, and their values by name.

        Raises:
            psycopg.Error: the first of them that failed, or the connection was lost, and is closed then.
        """
        pgconn = self._driver.pgconn
        idle = pgconn.transaction_status == TransactionStatus.IDLE
        begun: list[tuple[str, Values]] = [("BEGIN", {})] if idle and not self._driver.autocommit else []
        everything = [_filled(*statement) for statement in (*begun, *statements)]  # what cannot be sent fails here
        try:
            pgconn.enter_pipeline_mode()
            closed = self._close_stale(pgconn)
            fresh = [self._send(pgconn, *one) for one in everything]
            pgconn.pipeline_sync()
            results = _received(pgconn)[closed:]
            pgconn.exit_pipeline_mode()
        except BaseException:
            self._driver.close()  # nobody knows what it would answer next
            raise
        return self._read(results, fresh)[len(begun) :]

    def _close_stale(self, pgconn: PGconn) -> int:
        """Close what was forgotten; return how many results that makes."""
        stale, self._stale = self._stale if psycopg.capabilities.has_send_close_prepared() else [], []
        for name in stale:
            pgconn.send_close_prepared(name)
        return len(stale)

    def _send(self, pgconn: PGconn, text: str, query: bytes, values: list[bytes | None]) -> str | None:
        """Send one statement; return its text if that is being prepared by the way."""
        threshold = self._driver.prepare_threshold
        if threshold is None:
            pgconn.send_query_params(query, values)
            return None
        name = self._prepared.get(text)
        if name is not None:
            pgconn.send_query_prepared(name, values)
            return None
        self._names += 1
        name = self._prepared[text] = b"lethe_%d" % self._names
        pgconn.send_prepare(name, query)
        pgconn.send_query_prepared(name, values)
        return text

    def _read(self, results: list[PGresult], fresh: list[str | None]) -> list[PGresult]:
        """Return the result of each statement, which may stand behind that of its preparation."""
        arrived, answers = iter(results), []
        for text in fresh:
            if text is not None and next(arrived).status != _DONE:
                del self._prepared[text]
            answers.append(next(arrived))
        failed = next((one for one in results if one.status not in _WELL), None)
        if failed is not None:
            error = error_from_result(failed, encoding="utf-8")
            if isinstance(error, psycopg.errors.FeatureNotSupported):
                self.forget()  # a column was added since, and the old plans do not have it
            raise error
        return answers

    def rows(self, result: PGresult) -> list[Any]:
        """Return the rows of an answer, whose columns are attributes."""
        if not result.ntuples:
            return []
        row = _row(tuple([result.fname(column) for column in range(result.nfields)]))
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, row._make)


def _received(pgconn: PGconn) -> list[PGresult]:
    """Return the results of all that was sent, up to the one that says that this was all.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    results: list[PGresult] = []
    poll = select.poll()
    poll.register(pgconn.socket, _READ_AND_WRITE if pgconn.flush() else _READ)
    while True:
        poll.poll()
        pgconn.consume_input()
        poll.modify(pgconn.socket, _READ_AND_WRITE if pgconn.flush() else _READ)
        between = False
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                if between:
                    break  # nothing is left: the rest has to arrive, or the connection is about to be seen lost
                between = True  # the end of one statement's results
                continue
            between = False
            if result.status == _SYNC:
                return results
            results.append(result)


@cache
def _translated(text: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with numbers for its places, and whose value each number is."""
    names: list[str] = []

    def place(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACE.sub(place, text).encode(), tuple(names)


def _filled(text: str, values: Values) -> tuple[str, bytes, list[bytes | None]]:
    query, names = _translated(text)
    return text, query, [_written(values[name]) for name in names]


def _written(value: Any) -> bytes | None:
    """Return a value as PostgreSQL reads it."""
    if value is None:
        return None
    if type(value) is str or isinstance(value, str):
        content = value.encode()
    elif isinstance(value, bool):
        content = b"true" if value else b"false"
    elif isinstance(value, int):
        content = b"%d" % value
    elif isinstance(value, datetime):
        content = value.isoformat().encode()
    elif isinstance(value, list | tuple):
        content = array(value).encode()
    else:
        raise TypeError(f"a statement cannot be given a {type(value).__name__}")
    if 0 in content:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return content


@cache
def _row(columns: tuple[bytes, ...]) -> Any:
    return namedtuple("Row", [column.decode() for column in columns], rename=True)  # noqa: PYI024 - known at run time


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
