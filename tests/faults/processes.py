"""Processes of `lethe` that a test kills, freezes and brings back, and a search for any that outlived their parents.

Every process of a stack carries a mark in its environment that all of its descendants inherit, so that `marked` finds
them however they were started and whoever died before them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.processes import lethe
from tests.servers.process import Child

HOUSE = Path(__file__).resolve().parents[2]
SITE = Path(__file__).parent / "site"
MARK = "FAULTS_STACK"
UNGUARDED = "FAULTS_UNGUARDED"
"""Names of guards, separated by commas, that a process runs without; see `guards`."""
CLOCK = "FAULTS_CLOCK_SECONDS"
"""By how much a process's clock is ahead."""
VANISH_SECONDS = 120.0
"""A process that loads torch hears of its parent's end when it has done so, which takes long where others work."""


class Process:
    """One command of `lethe`, in a process group of its own, restarted by nobody but the test."""

    def __init__(self, name: str, *command: str, directory: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._child = Child(lethe(*command), log=self.log, environment=with_site(variables))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        self._child.start()

    def family(self) -> list[int]:
        """Return its process id and those of all that descend from it; none when it does not run."""
        return list(self._child._family())

    def kill(self, *, children: bool = False) -> None:
        """Send SIGKILL to it, and to its children only if that is asked for."""
        if children:
            self._child.kill()
        elif self.pid is not None:
            send(self.pid, signal.SIGKILL)
            while self.pid is not None:
                time.sleep(0.01)

    def stop(self) -> None:
        """End it as an operator would."""
        self._child.stop()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def run(*command: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of `lethe` that ends by itself."""
    environment = {**os.environ, **with_site(variables)}
    return subprocess.run(lethe(*command), env=environment, capture_output=True, text=True, timeout=300, check=False)


def with_site(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Let `site` change a process that shall be changed; one that runs as users run it does not see the tests."""
    changed = variables.get(UNGUARDED) or variables.get(CLOCK)
    return {**variables, **({"PYTHONPATH": os.pathsep.join([str(SITE), str(HOUSE)])} if changed else {})}


def send(pid: int, number: int) -> bool:
    """Send a signal; False when nobody has that process id any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def marked(mark: str) -> Iterator[int]:
    """Yield every living process with this mark."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0") and state_of(int(entry.name)) != "Z":
                yield int(entry.name)
        except OSError:
            continue


def state_of(pid: int) -> str:
    """Return the letter of a process's state, `T` when it is stopped; empty when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def end_all(mark: str) -> list[str]:
    """Wait until all marked processes are gone, then kill the rest; return the commands of those that had to be."""
    give_up = time.monotonic() + VANISH_SECONDS
    while time.monotonic() < give_up:
        left = list(marked(mark))
        if not left:
            return []
        for pid in left:
            send(pid, signal.SIGCONT)
        time.sleep(0.05)
    outlived = []
    for pid in marked(mark):
        try:
            outlived.append((Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except OSError:
            continue
        send(pid, signal.SIGKILL)
    return outlived
