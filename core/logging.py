"""Logs: one JSON object a line on standard error, events rather than prose, and never an identity or a content.

    our own       `log.info("deletion.accepted", deletion_request=…)`: a closed word, identifiers, numbers
    a library's   event "library": its level, where in its source it spoke, its template; never what it filled in
    a warning     event "warning": its kind, and where
    an escaped    event "unexpected": its kind, and the frames it passed through; never its message
    exception

Whatever a library says may repeat a value (a statement's parameters, a header, an address as it was called), so only
what stands in its source is passed on. `about` puts identifiers on every line that is logged inside its `with`.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TextIO

import structlog

from core.domain.errors import LetheError
from core.settings import Settings

MOST_FRAMES = 8
LIBRARIES_LEVEL = logging.WARNING
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def configure_logging(level: str | None = None) -> None:
    """Send our events, the libraries' and the interpreter's last words to standard error, as JSON.

    Args:
        level: `debug`, `info`, `warning` or `error`, for our own events; None reads LETHE_LOG_LEVEL.
    """
    threshold = logging.getLevelNamesMapping()[(level or Settings().log_level).upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(max(threshold, LIBRARIES_LEVEL))
    # A library that brought its own handler would print around ours.
    for name in list(logging.Logger.manager.loggerDict):
        known = logging.getLogger(name)
        if known.handlers:
            known.handlers[:] = []
            known.propagate = True
    warnings.showwarning = _warning
    sys.excepthook = _escaped
    threading.excepthook = _escaped_from_thread


def about(**identifiers: str | int | None) -> AbstractContextManager[Any]:
    """Put these identifiers on every line that is logged inside the `with`; None is left out.

    A worker says `about(job_id=job.id, deletion_request=job.request_id, model=job.model_id)`.
    """
    known = {name: value for name, value in identifiers.items() if value is not None}
    return structlog.contextvars.bound_contextvars(**known)


def client_identifiers(request_id: str | None, trace_parent: str | None) -> dict[str, str]:
    """Return what a client calls its request by, as far as it can be nothing but an identifier.

    Args:
        request_id: the header X-Request-Id; taken when it is a UUID, as anything looser could spell a person.
        trace_parent: the header traceparent (W3C Trace Context); its trace id is taken.
    """
    found = {}
    if request_id is not None and _UUID.fullmatch(request_id.lower()):
        found["client_request_id"] = request_id.lower()
    trace = _TRACE_PARENT.fullmatch(trace_parent or "")
    if trace is not None and trace[1].strip("0"):
        found["trace_id"] = trace[1]
    return found


class _Libraries(logging.Handler):
    """Tells what a library logged, without the values."""

    def emit(self, record: logging.LogRecord) -> None:
        # With arguments, the message is a template from the library's source. Without, it may have been filled in
        # already: then only the place tells which one it was.
        template = record.msg if record.args and isinstance(record.msg, str) else None
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        told = {"logger": record.name, "where": f"{record.module}:{record.lineno}", "template": template, "kind": kind}
        _say(record.levelno, "library", **told)


def _warning(  # noqa: PLR0913, PLR0917 - the shape that Python asks for
    message: Warning | str,  # noqa: ARG001 - it may repeat a value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    _say(logging.WARNING, "warning", kind=category.__name__, where=f"{_short(filename)}:{lineno}")


def _escaped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    frames = [f"{_short(one.filename)}:{one.lineno} {one.name}" for one in traceback.extract_tb(trace)]
    # Our own errors never repeat what was sent; a driver's message repeats the statement and its values.
    detail = error.detail if isinstance(error, LetheError) else None
    _say(logging.ERROR, "unexpected", kind=kind.__name__, detail=detail, frames=frames[-MOST_FRAMES:])


def _escaped_from_thread(escaped: threading.ExceptHookArgs) -> None:
    if escaped.exc_value is not None and not issubclass(escaped.exc_type, SystemExit):
        _escaped(escaped.exc_type, escaped.exc_value, escaped.exc_traceback)


def _say(level: int, event: str, **values: Any) -> None:
    known = {name: value for name, value in values.items() if value is not None}
    structlog.get_logger().log(level, event, **known)


def _short(path: str) -> str:
    """Return the end of a source file's path: which package and which file."""
    return "/".join(path.split("/")[-3:])
