"""Who asks the predictor all the time, and writes down which manifest each answer came from.

An answer is *stale* when it names a smaller number than an answer that had arrived before its question was sent. The
witness asks over a connection of its own from the first deletion's eve to the end of the last repair: every few
milliseconds, and more often while a deletion is under way, so that E1 is measured to within one pause and one answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from cli.client import Client
from cli.output import CommandFailed

PAUSE_SECONDS = 0.02
HURRIED_SECONDS = 0.005
"""Not zero: asking without any pause takes a core of the machine whose speed is being measured."""


class Notes:
    """What every asker saw; shared by threads."""

    def __init__(self) -> None:
        self.answered = 0
        self.stale = 0
        self.failures: list[str] = []
        self.first_seen: dict[int, float] = {}
        """Number of a manifest → when its first answer arrived, in seconds of `time.perf_counter`."""
        self.longest = 0.0
        """Seconds of the longest single question."""
        self.newest = 0
        """The highest number that was seen."""
        self._changed = threading.Condition()

    def ask(self, client: Client, model: str, questions: Any) -> dict[str, Any]:
        """Ask the predictor and write down how it went.

        Raises:
            CommandFailed: it did not answer; that is written down too.
        """
        floor, began = self.newest, time.perf_counter()
        try:
            answer = client.predict(model, questions)
        except CommandFailed as failure:
            with self._changed:
                self.failures.append(failure.sentence)
            raise
        self.note(int(answer["manifest"]["number"]), floor=floor, began=began, ended=time.perf_counter())
        return answer

    def note(self, number: int, *, floor: int, began: float, ended: float) -> None:
        """Write down an answer from manifest `number`; `floor` is the newest that was known when it was asked for."""
        with self._changed:
            self.answered += 1
            self.stale += number < floor
            self.longest = max(self.longest, ended - began)
            if number not in self.first_seen:
                self.first_seen[number] = ended
                self.newest = max(self.newest, number)
                self._changed.notify_all()

    def wait_above(self, number: int, *, seconds: float) -> tuple[int, float] | None:
        """Return the number and the time of the first answer from a later manifest, or None when none comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.newest > number, timeout=seconds):
                return None
            later = min(seen for seen in self.first_seen if seen > number)
            return later, self.first_seen[later]


class Witness:
    """A thread that keeps asking about one input."""

    def __init__(self, client: Client, notes: Notes, model: str, question: Any) -> None:
        self.notes = notes
        self._client, self._model, self._question = client, model, question
        self._stopping = threading.Event()
        self._pause = PAUSE_SECONDS
        self._thread = threading.Thread(target=self._ask, name="witness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Ask more often."""
        self._pause = HURRIED_SECONDS
        try:
            yield
        finally:
            self._pause = PAUSE_SECONDS

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                self.notes.ask(self._client, self._model, [self._question])
            except CommandFailed:
                self._stopping.wait(PAUSE_SECONDS)
            self._stopping.wait(self._pause)
