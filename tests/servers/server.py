"""What every throw-away server can do, whatever it is."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.process import Child


class Server(ABC):
    """A server in a directory of its own, from `with` until its end."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"lethe-{self.name}-"))
        self.main = self._prepare()
        """The program that answers; the one that is killed, paused and restarted."""

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Return a sentence that says what to install, or None when this server can be started."""

    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Return the settings with which Lethe uses this server."""

    @abstractmethod
    def _prepare(self) -> Child:
        """Write what the server needs to start for the first time; start nothing that lasts."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the server answers."""

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            DoesNotStart: it does not answer within two minutes.
        """
        self.main.start()
        self.main.wait_until(self._ready)

    def stop(self) -> None:
        """End the server as an operator would."""
        self.main.stop()

    def kill(self) -> None:
        """End the server at once, with SIGKILL."""
        self.main.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server: its connections stay open, and nobody answers."""
        self.main.pause()

    def resume(self) -> None:
        self.main.resume()

    def close(self) -> None:
        """End the server for good and remove its directory."""
        self.main.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
