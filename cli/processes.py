"""Children of one command: started with one environment, restarted when they fall, stopped within seconds.

A child holds the reading end of a pipe that only the supervisor can write to. When the supervisor is gone, however it
went, the pipe ends and the child stops by itself: no orphan keeps a port.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

log = structlog.get_logger()
STOP_SECONDS = 8.0
"""A worker that stops ends its training first and hands the jobs back."""
PIPE_VARIABLE = "LETHE_SUPERVISOR_PIPE"
FEWEST_SECONDS_BETWEEN_STARTS = 1.0


class Supervisor:
    """A set of child processes that live as long as this object's owner."""

    def __init__(self, environment: Mapping[str, str], log_directory: Path | None = None) -> None:
        """Start nothing yet; without a log directory, children write where this process does."""
        self._ears, self._mouth = os.pipe()
        self._environment = {**os.environ, **environment, PIPE_VARIABLE: str(self._ears)}
        self._logs = log_directory
        self._commands: dict[str, Sequence[str]] = {}
        self._own: dict[str, Mapping[str, str]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def start(self, name: str, command: Sequence[str], **variables: str) -> None:
        """Start a child with variables of its own beside those of all; its output goes to a file of its own."""
        self._commands[name] = command
        self._own[name] = variables
        self._started[name] = time.monotonic()
        with ExitStack() as stack:
            out = None
            if self._logs is not None:
                self._logs.mkdir(exist_ok=True)
                out = stack.enter_context((self._logs / f"{name}.log").open("ab"))
            self._children[name] = subprocess.Popen(
                command,
                env={**self._environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(self._ears,),
                # Ctrl-C goes to the supervisor alone, which then stops its children in order.
                start_new_session=True,
            )

    def revive(self) -> None:
        """Start again whatever fell."""
        for name, child in self._children.items():
            if child.poll() is not None and time.monotonic() - self._started[name] > FEWEST_SECONDS_BETWEEN_STARTS:
                log.warning("child.restarted", name=name, code=child.returncode)
                self.start(name, self._commands[name], **self._own[name])
                return

    def exited(self, name: str) -> int | None:
        return self._children[name].poll()

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    def stop(self) -> None:
        """Ask every child to end, and kill those that do not within seconds."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        give_up = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.0, give_up - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        # Not before: to a child that is stopping, the end of the pipe is a second signal, which ends it at once.
        os.close(self._mouth)
        os.close(self._ears)


def end_with_supervisor() -> None:
    """In a child: stop this process when the supervisor is gone. Does nothing when there is none."""
    pipe = os.environ.get(PIPE_VARIABLE)
    if pipe is None:
        return

    def watch() -> None:
        os.read(int(pipe), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()


def stop_at_signals(stopping: threading.Event, *, insist: bool = True) -> None:
    """Set the event at SIGTERM or Ctrl-C; with `insist`, a second signal ends this process at once, as a kill would.

    A thread does it, not a handler: a handler runs in the middle of whatever the main thread does, also while that
    holds the event's own lock, and would wait for it forever.
    """
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)

    def obey() -> None:
        os.read(ears, 1)
        stopping.set()
        while True:
            again = os.read(ears, 1)
            if insist:
                os._exit(128 + again[0])

    threading.Thread(target=obey, name="signals", daemon=True).start()


def lethe(*arguments: str) -> list[str]:
    """Return the command line of one of our own commands, run by this very interpreter."""
    return [sys.executable, "-m", "cli.main", *arguments]
