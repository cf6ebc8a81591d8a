"""Can this process do its work? Asks the database, its schema, both stores and the ledger, each for a bounded time.

A server that hangs must not hang whoever asks: each question runs in a thread of its own, which is waited for until
`PATIENCE_SECONDS` have passed since the first. A question that hangs is not asked again while it does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from core.domain.errors import Flaw, KeyDestroyed, LetheError, LogForked, Unavailable
from core.persistence.database import schema_heads
from core.use_cases.doors import LOG_KEY, Doors
from core.use_cases.keep_ledger import require_unforked

PATIENCE_SECONDS = 3.0
OK = "ok"
HANGS = "it does not answer in time"
NO_ANSWER = "it does not answer"
log = structlog.get_logger()
_hanging: set[tuple[int, str]] = set()
"""Which questions are still being waited for in some thread, by door and name."""


def check_readiness(doors: Doors) -> dict[str, Any]:
    """Return the state of everything that was asked, all of them `ok`.

    Raises:
        Unavailable: something is not; the flaws name what, and the sentence what the first one is.
    """
    asked = [_Question(doors, name, ask) for name, ask in QUESTIONS.items()]
    give_up = time.monotonic() + PATIENCE_SECONDS
    answers = {one.name: one.answer(give_up) for one in asked}
    wrong = {name: state for name, state in answers.items() if state != OK}
    if wrong:
        name, state = next(iter(wrong.items()))
        flaws = [Flaw(f"/checks/{name}", "unavailable", state) for name, state in wrong.items()]
        raise Unavailable(f"{name}: {state}", flaws=flaws)
    return {"status": "ready", "checks": answers}


def _database(doors: Doors) -> str:
    with doors.database.glance() as session:
        session.execute(text("SELECT 1"))
    return OK


def _schema(doors: Doors) -> str:
    current, head = schema_heads(doors.database)
    return OK if current == head else "the schema is not this release's; run `lethe migrate up`"


def _keys(doors: Doors) -> str:
    try:
        doors.keys.get(LOG_KEY)
    except KeyDestroyed:
        return "it lacks the log's key; restore it, or run `lethe prepare`"
    return OK


def _objects(doors: Doors) -> str:
    doors.store.ping()
    return OK


def _log(doors: Doors) -> str:
    try:
        with doors.database.transaction() as session:
            require_unforked(session, doors)
    except LogForked as fork:
        return f"{fork.detail}; see `lethe fsck --after-restore` in the runbook"
    return OK


QUESTIONS: dict[str, Callable[[Doors], str]] = {
    "database": _database,
    "schema": _schema,
    "key_store": _keys,
    "object_store": _objects,
    "audit_log": _log,
}


class _Question:
    """One question, asked in a thread."""

    def __init__(self, doors: Doors, name: str, ask: Callable[[Doors], str]) -> None:
        self.name = name
        self._state = HANGS
        self._answered = threading.Event()
        key = id(doors), name  # the thread holds the doors for as long as the key is in the set
        if key in _hanging:
            self._answered.set()
            return
        _hanging.add(key)
        threading.Thread(target=self._run, args=(doors, ask, key), name=f"ready-{name}", daemon=True).start()

    def answer(self, give_up: float) -> str:
        """Return the state, or that there is none yet."""
        self._answered.wait(max(0.0, give_up - time.monotonic()))
        return self._state

    def _run(self, doors: Doors, ask: Callable[[Doors], str], key: tuple[int, str]) -> None:
        try:
            self._state = ask(doors)
        except LetheError as error:
            self._state = error.detail
        except (SQLAlchemyError, OSError):  # their messages may hold addresses and values
            self._state = NO_ANSWER
        except CommandError:  # Alembic's: there are two heads, or none
            self._state = "the migrations of this release do not end in one revision; install the release again"
        except Exception as error:  # noqa: BLE001 - whatever it is, a process that cannot say that it is ready is not
            log.error("readiness.trouble", check=self.name, kind=type(error).__name__)
            self._state = "it could not be checked; the log names the kind of error"
        finally:
            _hanging.discard(key)
            self._answered.set()
