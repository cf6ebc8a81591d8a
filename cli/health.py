"""`lethe health`: does one process of this deployment do its work? For the health checks of containers and supervisors.

The API and the predictor are asked over HTTP. Workers and the dispatcher listen nowhere: each of their loops leaves a
sign of life when it has been to the database, and `core.pulse` says how old the oldest of them is.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from enum import StrEnum
from typing import Annotated

import typer

from cli.output import CommandFailed, Json, say, show, told

ANSWER_SECONDS = 5.0
LEAST_PATIENCE_SECONDS = 30.0
"""A machine under load may be late; a container that is ended for that only makes more load."""


class Part(StrEnum):
    """What can be asked."""

    API = "api"
    PREDICTOR = "predictor"
    WORKER = "worker"
    DISPATCHER = "dispatcher"


def health(part: Annotated[Part, typer.Argument(help="Which process of this machine.")], as_json: Json = False) -> None:
    """Say whether a process here does its work; exit status 1 when it does not."""
    with told(as_json):
        trouble = _unready(part) if part in {Part.API, Part.PREDICTOR} else _silent(part)
        if trouble is not None:
            raise CommandFailed(f"the {part} {trouble}", "unhealthy")
        show({"part": part, "healthy": True}, as_json, lambda: say(f"The {part} does its work."))


def _unready(part: Part) -> str | None:
    from core.settings import Settings

    settings = Settings()
    # Who listens on every address also listens on this one.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
    port = settings.port if part == Part.API else settings.predictor_port
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as refused:
        refused.close()
        return f"is not ready; its log says more (HTTP {refused.code})"
    except OSError:
        return f"does not answer on port {port}"


def _silent(part: Part) -> str | None:
    from core.pulse import silence
    from core.settings import Settings

    seconds = silence(part)
    if seconds is None:
        return "does not run here"
    # An idle loop comes round once in LETHE_POLL_SECONDS; one that missed two turns hangs.
    if seconds > LEAST_PATIENCE_SECONDS + 2 * Settings().poll_seconds:
        return f"has been silent for {seconds:.0f} seconds"
    return None
