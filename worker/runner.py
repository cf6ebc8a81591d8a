"""The parent's side of a training subprocess: started fresh, warmed up, given jobs, and gone afterwards.

Started by exec and never by fork, because CUDA does not survive a fork. It has a process group of its own, so that a
Ctrl-C reaches only the worker, and so that nothing it may have started outlives it. What it says is in `compute.py`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

SECONDS_TO_END = 3.0
"""How long a process that was asked to end may take before it is killed."""


MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts the memory of a process."""


@dataclass(frozen=True)
class Death:
    """How a process ended that was to do a job."""

    code: int
    """Exit status; below zero: the signal that killed it."""
    peak_memory_bytes: int
    """The most memory that it held."""

    @property
    def cause(self) -> str:
        return f"killed_by_signal_{-self.code}" if self.code < 0 else f"exit_{self.code}"


class Runner:
    """One subprocess. It does one job at a time."""

    def __init__(self, device: str | None = None) -> None:
        """Start it; with a device, it sees only that one."""
        environment = dict(os.environ)
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.compute"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a runner has a standard input and output")
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self._heard = b""
        self._lines: list[dict[str, Any]] = []
        self._death: Death | None = None
        self.ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, job: Any) -> None:
        """Hand over a claimed job; if the process is dead already, `follow` says so."""
        line = json.dumps({"job": job.id, "fence": job.fence}) + "\n"
        with suppress(OSError):
            self._orders.write(line.encode())
            self._orders.flush()

    def warm(self, seconds: float) -> bool:
        """Wait until it has loaded torch; False when it has not yet, or is dead."""
        give_up = time.monotonic() + seconds
        while not self.ready and self.death() is None and time.monotonic() < give_up:
            self._listen(give_up - time.monotonic())
        return self.ready and self.death() is None

    def follow(self, job: Any, seconds: float) -> bool:
        """Wait for the end of a job; True when it ended, and False when it has not yet or `death` tells more."""
        self._listen(seconds)
        while self._lines:
            line = self._lines.pop(0)
            if (line.get("done"), line.get("fence")) == (job.id, job.fence):
                return True
        return False

    def _listen(self, seconds: float) -> None:
        """Take in what the process says within `seconds`; return at the first words, or when it says no more."""
        if not select.select([self._answers], [], [], max(0.0, seconds))[0]:
            return
        said = os.read(self._answers.fileno(), 65536)
        if not said:
            # Its output ended, so it is about to be dead. Without this pause we would ask it a thousand times.
            time.sleep(0.01)
            return
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            with suppress(ValueError):
                words = json.loads(line)
                self._lines.append(words)
                self.ready = self.ready or "ready" in words

    def death(self) -> Death | None:
        """Return how it ended; None while it lives."""
        if self._death is None:
            self._reap(os.WNOHANG)
        return self._death

    def _reap(self, options: int) -> None:
        pid, status, usage = os.wait4(self.pid, options)
        if pid:
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._death = Death(self._process.returncode, usage.ru_maxrss * MEMORY_UNIT)
            with suppress(OSError):
                self._orders.close()
            self._answers.close()

    def end(self) -> None:
        """Ask it to end, and kill it if it does not within seconds. What it had not committed is lost."""
        self._signal(signal.SIGTERM)
        give_up = time.monotonic() + SECONDS_TO_END
        while self.death() is None and time.monotonic() < give_up:
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """Kill it and whatever it started; it is gone when this returns."""
        self._signal(signal.SIGKILL)
        if self._death is None:
            self._reap(0)

    def _signal(self, number: int) -> None:
        # Until it is reaped, its number belongs to nobody else.
        if self.death() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
