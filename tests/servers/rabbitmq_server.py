"""RabbitMQ with a node, a cookie and an epmd of its own, so that it never meets another node of this machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.servers.process import Child, answers, free_port, program
from tests.servers.server import Server

DEBIAN = Path("/usr/lib/rabbitmq/lib")


class RabbitMQ(Server):
    """One RabbitMQ with the user guest; what it holds outlasts a restart where the publisher asked for it."""

    name: ClassVar[str] = "rabbitmq"

    @classmethod
    def missing(cls) -> str | None:
        if _script() is None or program("epmd") is None:
            return "rabbitmq-server is not installed (apt-get install rabbitmq-server)"
        return None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def variables(self) -> Mapping[str, str]:
        return {"LETHE_BROKER_URL": self.url}

    def start(self) -> None:
        self._names.start()
        self._names.wait_until(lambda: answers(self._names_port))
        super().start()

    def close(self) -> None:
        self._names.kill()
        super().close()

    def _prepare(self) -> Child:
        self.port, self._names_port = free_port(), free_port()
        home = self.directory
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file.level = warning\n")
        for empty in ("env.conf", "plugins"):
            (home / empty).write_text("[].\n" if empty == "plugins" else "")
        cookie = home / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16))
        environment = {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"lethe{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # As under systemd, the script becomes the server instead of standing beside it.
            "NOTIFY_SOCKET": str(home / "notify"),
        }
        log = home / "rabbitmq.log"
        self._names = Child(
            [program("epmd") or "epmd", "-port", str(self._names_port), "-address", "127.0.0.1"],
            log=log,
            environment=environment,
        )
        return Child([_script() or "rabbitmq-server"], log=log, environment=environment)

    def _ready(self) -> bool:
        # A method frame on channel 0: the server introduces itself.
        return answers(self.port, b"AMQP\x00\x00\x09\x01", starts=b"\x01\x00\x00")


def _script() -> Path | None:
    """Return RabbitMQ's own script; Debian's command of that name insists on another user and its directories."""
    return next(iter(sorted(DEBIAN.glob("rabbitmq_server-*/sbin/rabbitmq-server"))), None)
