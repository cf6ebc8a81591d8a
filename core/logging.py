"""Logs: one JSON object a line on standard error, events rather than prose, and never an identity or a content."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging() -> None:
    """Send structured events, and warnings of libraries, to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    # SQLAlchemy repeats parameters when it logs; they are references, but nobody needs them.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.ERROR)
