"""One program of a throw-away server: started as our own child, waited for when it ends, and gone when we are.

`setpriv` asks the kernel to kill the program when the thread that started it ends, so that even a test run that is
killed leaves nothing behind. All programs are therefore started by one thread that lives as long as the interpreter.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

START_SECONDS = 120.0
"""Far more than any of them needs, because test machines are busy."""
STOP_SECONDS = 30.0
PORTS = range(15_000, 32_000)
"""Below those that the kernel gives to outgoing connections, which could take a stopped server's port away."""
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

_starter = ThreadPoolExecutor(1, thread_name_prefix="starter-of-servers")
_given: set[int] = set()


class DoesNotStart(Exception):
    """A program ended at once or never answered; the message ends with what it logged last."""


class Child:
    """A program that can be started again and again with the same command, in a process group of its own."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None, user: str = ""
    ) -> None:
        """Remember how to start it.

        Args:
            command: the program and its arguments; it must stay in the foreground.
            log: file that its output is appended to.
            environment: variables beside our own.
            user: name of the user it shall run as; empty: as we do.
        """
        self._command = [str(part) for part in command]
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._user = user or None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the program, unless it runs."""
        if self.pid is None:
            self._process = _starter.submit(self._popen).result()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so.

        Raises:
            DoesNotStart: the program ended, or two minutes have passed.
        """
        give_up = time.monotonic() + START_SECONDS
        while not ready():
            if self.pid is None or time.monotonic() > give_up:
                raise DoesNotStart(f"{Path(self._command[0]).name} does not start:\n{self._last_words()}")
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask the program to end, and kill it when it does not within half a minute."""
        if self._process is None:
            return
        self.resume()
        self._send(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the program and whatever it started; its end is waited for."""
        family = list(self._family())
        for pid in family:
            _signal(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop the program and whatever it started in their tracks: they hold their connections and do nothing."""
        if self.pid is None:
            return
        _halt(self.pid)  # the parent of the others first: from then on there are no new ones
        for pid in self._family():
            _halt(pid)

    def resume(self) -> None:
        """Let a paused program go on."""
        for pid in self._family():
            _signal(pid, signal.SIGCONT)

    def _popen(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as out:
            return subprocess.Popen(
                ends_with_us(self._command),
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
                # Ctrl-C is for whoever started us; the servers are stopped in order.
                start_new_session=True,
            )

    def _send(self, number: int) -> None:
        if self.pid is not None:
            _signal(self.pid, number)

    def _family(self) -> Iterator[int]:
        """Yield the program's process id and those of all that descend from it."""
        if self.pid is None:
            return
        parents = dict(_all_processes())
        family = [self.pid]
        for pid in family:  # grows while it is walked
            family += [child for child, parent in parents.items() if parent == pid]
        yield from family

    def _last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace")[-2000:]
        except OSError:
            return ""


def ends_with_us(command: Sequence[str]) -> list[str]:
    """Return a command that runs the command given, and that the kernel kills when the thread that starts it ends."""
    setpriv = program("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on and that this process gave to nobody."""
    for port in random.sample(PORTS, 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise RuntimeError("no free port found")


def answers(port: int, question: bytes = b"", *, starts: bytes = b"") -> bool:
    """Whether somebody listens on the port and answers the question with bytes that start like that."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(question)
            return not starts or connection.recv(len(starts)) == starts
    except OSError:
        return False


def program(name: str) -> str | None:
    """Return the path of a program, also when it lies where only root's PATH looks."""
    return shutil.which(name, path=PROGRAMS)


def run(command: Sequence[str | Path], *, user: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Run a short command to its end and return its output.

    Raises:
        DoesNotStart: it failed.
    """
    account = user or None
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
        timeout=START_SECONDS,
    )
    if done.returncode != 0:
        raise DoesNotStart(f"{Path(str(command[0])).name} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _all_processes() -> Iterator[tuple[int, int]]:
    """Yield every process id of this machine with its parent's."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int(_fields(entry)[1])
            except OSError:
                continue


def state_of(pid: int) -> str:
    """Return the letter that Linux has for what a process does, T when it is stopped; empty when there is none."""
    try:
        return _fields(Path("/proc") / str(pid))[0]
    except OSError:
        return ""


def _halt(pid: int) -> None:
    """Stop a process and wait until it stands: each of its threads goes on until it is next interrupted."""
    _signal(pid, signal.SIGSTOP)
    give_up = time.monotonic() + STOP_SECONDS
    while state_of(pid) not in {"T", "Z", ""} and time.monotonic() < give_up:
        time.sleep(0.001)


def _fields(process: Path) -> list[str]:
    """Return what Linux tells of a process: its state, its parent's id, and more."""
    # The name, in parentheses, may hold anything; what we want comes after it.
    return (process / "stat").read_text().rpartition(")")[2].split()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
