"""Logs are JSON lines that cannot carry a value: not from a library, not from a warning, not from an escaped exception."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from core.logging import client_identifiers

CANARY = "jane.doe@example.org"
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def lines(program: str, *, level: str = "info", code: int = 0) -> list[dict[str, Any]]:
    """Run a few lines in a process of its own, as logging belongs to the whole process; return what it logged."""
    told = subprocess.run(
        [sys.executable, "-c", f"import core.logging\ncore.logging.configure_logging({level!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == code, told.stderr
    assert told.stdout == ""
    assert CANARY not in told.stderr
    return [json.loads(line) for line in told.stderr.splitlines()]


def test_a_line_carries_what_it_is_about_and_nothing_after() -> None:
    program = (
        "import structlog\nlog = structlog.get_logger()\n"
        "with core.logging.about(job_id='job_1', model=None):\n    log.info('inside', n=1)\nlog.info('outside')"
    )
    inside, outside = lines(program)
    assert (inside["event"], inside["job_id"], inside["n"], inside["level"]) == ("inside", "job_1", 1, "info")
    assert "model" not in inside
    assert "job_id" not in outside


def test_the_level_is_a_setting() -> None:
    program = "import structlog\nlog = structlog.get_logger()\nlog.info('a')\nlog.warning('b')"
    assert [line["event"] for line in lines(program, level="warning")] == ["b"]


@pytest.mark.parametrize(
    ("spoken", "template"),
    [
        (f"log.warning('cannot reach %s', {CANARY!r})", "cannot reach %s"),
        (f"log.warning('cannot reach ' + {CANARY!r})", None),
        (f"log.warning({CANARY!r}.join(('a', 'b')))", None),
    ],
)
def test_a_library_is_quoted_by_its_source_only(spoken: str, template: str | None) -> None:
    [line] = lines(f"import logging\nlog = logging.getLogger('celery.worker')\n{spoken}")
    assert (line["event"], line["logger"], line["level"]) == ("library", "celery.worker", "warning")
    assert line.get("template") == template
    assert line["where"]


def test_a_library_s_own_handler_is_taken_away_and_its_traceback_reduced_to_a_kind() -> None:
    program = (
        "import logging, sys\nlog = logging.getLogger('uvicorn.error')\n"
        "log.addHandler(logging.StreamHandler()); log.propagate = False\n"
        "core.logging.configure_logging()\n"
        f"try:\n    raise ValueError({CANARY!r})\nexcept ValueError:\n    log.exception('oh')"
    )
    [line] = lines(program)
    assert (line["logger"], line["kind"]) == ("uvicorn.error", "ValueError")


def test_a_warning_is_named_by_its_kind_and_place() -> None:
    [line] = lines(f"import warnings\nwarnings.warn('about ' + {CANARY!r}, UserWarning)")
    assert (line["event"], line["kind"]) == ("warning", "UserWarning")


def test_an_exception_that_nobody_caught_shows_its_way_and_not_its_message() -> None:
    program = f"def deep():\n    raise ValueError({CANARY!r})\ndeep()"
    [line] = lines(program, code=1)
    assert (line["event"], line["kind"]) == ("unexpected", "ValueError")
    assert any("deep" in frame for frame in line["frames"])
    assert "detail" not in line


def test_a_thread_that_dies_says_so_and_our_own_sentences_are_safe_to_say() -> None:
    program = (
        "import threading\nfrom core.domain.errors import Unusable\n"
        "def work():\n    raise Unusable('the lock is held')\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    )
    [line] = lines(program)
    assert (line["kind"], line["detail"]) == ("Unusable", "the lock is held")


@pytest.mark.parametrize(
    ("request_id", "trace_parent", "found"),
    [
        (None, None, {}),
        (UUID, None, {"client_request_id": UUID}),
        (UUID.upper(), None, {"client_request_id": UUID}),
        (CANARY, None, {}),
        ("4915112345678", None, {}),
        ("jane-doe", None, {}),
        ("5d41402abc4b2a76b9719d911017c592", None, {}),  # a digest of somebody's address would fit here
        (None, f"00-{'a1' * 16}-{'b2' * 8}-01", {"trace_id": "a1" * 16}),
        (None, f"00-{'00' * 16}-{'b2' * 8}-01", {}),
        (None, f"00-{CANARY}-01", {}),
    ],
)
def test_a_client_s_identifier_is_taken_only_if_it_can_be_nothing_else(
    request_id: str | None, trace_parent: str | None, found: dict[str, str]
) -> None:
    assert client_identifiers(request_id, trace_parent) == found
