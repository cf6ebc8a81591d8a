"""The throw-away servers themselves: they come back after each way to go, and nothing outlives whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.servers import KINDS, REQUIRED, Redis, Server, ceph, missing, postgres, rabbitmq, redis
from tests.servers.process import answers, state_of

HOUSE = Path(__file__).resolve().parents[2]
SECONDS = 120


@pytest.mark.parametrize("kind", [postgres, redis, ceph, pytest.param(rabbitmq, marks=pytest.mark.slow)])
def test_a_server_comes_back_after_each_way_to_go(kind: Callable[[], Server]) -> None:
    with kind() as server:
        directory, first = server.directory, server.main.pid
        address = dict(server.variables())
        assert server._ready()
        server.kill()
        assert not server._ready()
        server.start()
        assert server.main.pid != first
        server.restart()
        assert server._ready()
        server.pause()
        assert server.main.pid is not None
        assert state_of(server.main.pid) == "T"
        server.resume()
        wait_for(server._ready)
        assert dict(server.variables()) == address, "it keeps its address"
        last = server.main.pid
    assert not Path(f"/proc/{last}").exists()
    assert not directory.exists()


def test_postgresql_comes_from_the_wheel_where_debian_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.postgres_server._debian", lambda: None)
    with postgres() as server:
        server.kill()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("kind", [postgres, redis, ceph])
def test_several_run_at_once(kind: Callable[[], Server]) -> None:
    with kind() as one, kind() as other:
        assert one.variables() != other.variables()
        other.kill()
        assert one._ready()


def test_a_run_that_is_killed_leaves_no_server_behind() -> None:
    run, child, port = a_run()
    run.kill()
    run.wait()
    wait_for(lambda: not (alive(child) or answers(port)))


def test_a_run_that_is_asked_to_end_stops_its_servers() -> None:
    run, child, port = a_run()
    run.send_signal(signal.SIGTERM)
    assert run.wait(SECONDS) == 128 + signal.SIGTERM
    assert not alive(child)
    assert not answers(port)


def test_a_run_hands_on_addresses_and_the_exit_status() -> None:
    script = (
        "import os, sys; sys.exit(7 if os.environ['LETHE_BROKER_URL'] == os.environ['LETHE_TEST_BROKER_URL'] else 1)"
    )
    done = subprocess.run([*RUN, sys.executable, "-c", script], cwd=HOUSE, check=False, timeout=SECONDS)
    assert done.returncode == 7


def test_a_missing_program_skips_a_test_unless_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redis, "missing", classmethod(lambda _: "it is not installed"))
    assert missing("redis") == "it is not installed"
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is not installed"):
        redis()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="it is not installed"):
        redis()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_missing_is_a_package_to_install(kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without programs, every server names what to install."""
    for module in ("ceph_gateway", "redis_server", "rabbitmq_server"):
        monkeypatch.setattr(f"tests.servers.{module}.program", lambda name: None)  # noqa: ARG005 - its shape
    monkeypatch.setattr("tests.servers.postgres_server._debian", lambda: None)
    monkeypatch.setattr("tests.servers.postgres_server.find_spec", lambda name: None)  # noqa: ARG005 - its shape
    sentence = kind.missing()
    assert sentence is not None
    assert "apt-get install" in sentence


RUN = [sys.executable, "-m", "tests.servers", "--redis", "--"]


def a_run() -> tuple[subprocess.Popen[str], int, int]:
    """Start a command beside a Redis; return the run, the command's process id, and the server's port."""
    if missing("redis"):
        pytest.skip(str(missing("redis")))
    script = "import os, time; print(os.getpid(), os.environ['LETHE_BROKER_URL'], flush=True); time.sleep(600)"
    run = subprocess.Popen([*RUN, sys.executable, "-c", script], cwd=HOUSE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        child, url = run.stdout.readline().split()
    port = int(url.rpartition(":")[2].partition("/")[0])
    assert alive(int(child))
    assert answers(port)
    return run, int(child), port


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return state_of(pid) not in ("Z", "")


def wait_for(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)
