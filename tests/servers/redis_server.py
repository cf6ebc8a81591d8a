"""Redis, which keeps nothing on disk: killed, it comes back empty, which is the worst that a broker can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.servers.process import Child, answers, free_port, program
from tests.servers.server import Server


class Redis(Server):
    """One Redis without a password."""

    name: ClassVar[str] = "redis"

    @classmethod
    def missing(cls) -> str | None:
        return None if program("redis-server") else "redis-server is not installed (apt-get install redis-server)"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def variables(self) -> Mapping[str, str]:
        return {"LETHE_BROKER_URL": self.url}

    def _prepare(self) -> Child:
        self.port = free_port()
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.directory, "save": "", "appendonly": "no"}
        command = [program("redis-server") or "redis-server"]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        return Child(command, log=self.directory / "redis.log")

    def _ready(self) -> bool:
        return answers(self.port, b"PING\r\n", starts=b"+PONG")
