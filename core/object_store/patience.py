"""Trying again: how often, how long, and what becomes of trouble that stays.

A method that is `patiently` repeated raises `Passing` for whatever may be gone at the next attempt, and names the error
that it becomes when it is not. The pauses double and are shortened by chance, so that workers that failed together do
not come back together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import structlog

from core import metrics
from core.domain.errors import LetheError

log = structlog.get_logger()
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Passing(Exception):
    """Trouble that may be gone at the next attempt."""

    def __init__(self, becomes: LetheError, *, attempts: int | None = None) -> None:
        """Say what it becomes when it stays, and after how many attempts at most; None: as long as patience lasts."""
        super().__init__(becomes.detail)
        self.becomes = becomes
        self.attempts = attempts


@dataclass(frozen=True)
class Patience:
    """For how many seconds something is tried again; an attempt that began within them is not cut short."""

    seconds: float
    first_pause: float = 0.05
    longest_pause: float = 2.0

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after that many failed attempts."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(attempt - 1, 20))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - chance spreads the crowd, it hides nothing


class Patient(Protocol):
    """Whoever has methods that are repeated."""

    @property
    def patience(self) -> Patience: ...


Owner = TypeVar("Owner", bound=Patient)


def patiently(
    method: Callable[Concatenate[Owner, Arguments], Answer],
) -> Callable[Concatenate[Owner, Arguments], Answer]:
    """Repeat a method while it raises `Passing` and its owner's patience lasts; then raise what the trouble becomes."""

    @wraps(method)
    def repeated(owner: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        give_up = time.monotonic() + owner.patience.seconds
        attempt = 0
        while True:
            attempt += 1
            try:
                return method(owner, *args, **kwargs)
            except Passing as trouble:
                pause = owner.patience.pause(attempt)
                last = trouble.attempts is not None and attempt >= trouble.attempts
                if last or time.monotonic() + pause > give_up:
                    metrics.store_failed(method.__name__)
                    raise trouble.becomes from None
                log.warning("object_store.again", operation=method.__name__, code=trouble.becomes.code, attempt=attempt)
            metrics.store_retried(method.__name__)
            time.sleep(pause)

    return repeated
