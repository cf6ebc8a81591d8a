"""The parent's side of a training subprocess: started fresh, warmed up, given one job, gone afterwards.

The parent keeps one process in reserve that has loaded torch already, so a job does not wait for that. A process takes
one line, a job's id and fence, does that job and exits; it dies when its parent does, because its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import structlog

log = structlog.get_logger()


class Runner:
    """At most one job in work, and one warm process in reserve."""

    def __init__(self) -> None:
        self.job: Any = None
        self._process: subprocess.Popen[str] | None = None
        self._renewed = 0.0
        self._reserve = _spawn()

    def start(self, job: Any) -> None:
        """Hand a claimed job to the process in reserve."""
        if self._reserve.poll() is not None:
            self._reserve = _spawn()
        self.job, self._process, self._renewed = job, self._reserve, time.monotonic()
        line = json.dumps({"job": job.id, "fence": job.fence})
        if self._process.stdin is None:
            raise RuntimeError("a runner has a standard input")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._reserve = _spawn()

    def ended(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def release(self) -> Any:
        job, self.job, self._process = self.job, None, None
        return job

    def renewal_due(self, seconds: float) -> bool:
        if time.monotonic() - self._renewed < seconds:
            return False
        self._renewed = time.monotonic()
        return True

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._reserve.kill()
        self._reserve.wait()


def _spawn() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "worker.compute"], stdin=subprocess.PIPE, text=True)
