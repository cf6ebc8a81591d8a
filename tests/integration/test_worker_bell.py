"""A production worker and its broker: any message, or none, or a broker that dies, and every deletion is done once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from core.domain.identifiers import new_identifier
from core.domain.job import Lane
from core.persistence.jobs import jobs
from core.use_cases.doors import Doors
from tests.integration.bells import PATIENCE, answering, hears, messages, on_broker, put, send, until
from tests.integration.world import ask, built, request_of
from tests.servers import Redis, rabbitmq, redis
from worker.dispatcher import Ringer
from worker.doorbell import Doorbell


@pytest.fixture(scope="module")
def broker() -> Iterator[Redis]:
    with redis() as server:
        yield server


def completed(doors: Doors, request: str) -> bool:
    return bool(request_of(doors, request)["state"] == "completed")


def waiting_job(doors: Doors, lane: Lane = Lane.DEACTIVATE) -> str:
    with doors.database.transaction() as session:
        return str(
            session.execute(select(jobs.c.id).where(jobs.c.lane == lane, jobs.c.state == "waiting")).scalar_one()
        )


def ring(doors: Doors, job: str) -> None:
    bell = Doorbell(doors.settings)
    bell.ring(Lane.DEACTIVATE, job)
    bell.hang_up()


def versions_made(doors: Doors, model: str) -> int:
    with doors.database.transaction() as session:
        done = select(jobs.c.id).where(jobs.c.model_id == model, jobs.c.lane == "deactivate", jobs.c.state == "done")
        return len(session.execute(done).all())


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_message_wakes_the_worker(doors: Doors, kind: str) -> None:
    with redis() if kind == "redis" else rabbitmq() as server:
        doors = on_broker(doors, server.url)
        built(doors, repair=False)
        with answering(doors) as worker:
            hears(worker)
            # Several in a row: the worker takes another message after the one before.
            for owner in (5, 6, 7):
                request = ask(doors, owner)["id"]
                ring(doors, waiting_job(doors))
                until(partial(completed, doors, request), "the deletion completes")


def test_without_a_message_an_idle_worker_looks_by_itself(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url, poll_seconds=0.5)
    built(doors, repair=False)
    with answering(doors) as worker:
        hears(worker)
        receipt = ask(doors, 5)
        until(lambda: completed(doors, receipt["id"]), "the deletion completes")


def test_tripled_shuffled_ancient_and_forged_messages_do_no_harm(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    model = built(doors, repair=False)
    receipts = [ask(doors, owner) for owner in (5, 6, 7)]
    ringer = Ringer(doors, Doorbell(doors.settings))
    assert ringer.ring(Lane.DEACTIVATE) == 3
    real = messages(doors)
    assert len(real) == 3
    ancient = new_identifier("job")
    shuffled = real * 3
    random.Random(7).shuffle(shuffled)
    with answering(doors) as worker:
        hears(worker)
        put(doors, *shuffled)
        bodies: list[list[Any]] = [
            [["cpu", ancient], {}, {}],
            [["gpu", ancient], {}, {}],
            [["cpu", "job_'; DROP TABLE jobs; --\x00"], {}, {}],
            [[], {}, {}],
            [[1, 2, 3, 4], {"x": 1}, {}],
            [["cpu", {"a": 1}], {}, {}],
        ]
        for body in bodies:
            send(doors, body)
        send(doors, [["cpu", ancient], {}, {}], task="celery.backend_cleanup")
        send(doors, [[], {}, {}], task="os.system")
        send(doors, "no task at all")
        put(doors, b"no message at all", {"body": "no", "headers": {}})
        for receipt in receipts:
            until(partial(completed, doors, receipt["id"]), "the deletion completes")
        # And it still listens: whatever a message broke was begun anew.
        last = ask(doors, 8)
        hears(worker)
        until(lambda: _rung(doors, ringer, last["id"]), "it hears the next message")
    ringer.doorbell.hang_up()
    assert versions_made(doors, model) == 4


def _rung(doors: Doors, ringer: Ringer, request: str) -> bool:
    ringer.ring(Lane.DEACTIVATE, again=True)
    return completed(doors, request)


def test_a_worker_that_starts_without_a_broker_works_and_connects_when_it_comes(doors: Doors) -> None:
    with redis() as server:
        server.kill()
        doors = on_broker(doors, server.url)
        built(doors, repair=False)
        with answering(doors) as worker:
            receipt = ask(doors, 5)
            until(lambda: completed(doors, receipt["id"]), "the deletion completes by polling")
            assert not worker.hears()
            server.start()
            hears(worker)
            assert worker.interval() == doors.settings.poll_seconds
            receipt = ask(doors, 6)
            ring(doors, waiting_job(doors))
            until(lambda: completed(doors, receipt["id"]), "the deletion completes at a ring")


def test_a_broker_that_dies_or_forgets_only_slows(doors: Doors) -> None:
    with redis() as server:
        doors = on_broker(doors, server.url)
        built(doors, repair=False)
        with answering(doors) as worker:
            hears(worker)
            server.kill()
            receipt = ask(doors, 5)
            until(lambda: completed(doors, receipt["id"]), "it polls while the broker is gone")
            server.start()  # empty, as after a flush
            hears(worker)
            receipt = ask(doors, 6)
            ring(doors, waiting_job(doors))
            until(lambda: completed(doors, receipt["id"]), "it hears the broker that came back")
            server.pause()
            receipt = ask(doors, 7)
            until(lambda: completed(doors, receipt["id"]), "it polls while the broker hangs")
            server.resume()
            hears(worker)


def test_a_consumer_that_lives_and_hears_nothing_is_replaced(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    built(doors, repair=False)
    with answering(doors) as worker:
        hears(worker)
        silent = worker.controller
        silent.consumer.hub.call_soon(silent.consumer.task_consumer.cancel)
        until(lambda: not silent.consumer.task_consumer._active_tags, "it consumes no more")
        # A bell for nobody: no job waits, so only the message itself shows that nobody listens.
        ring(doors, new_identifier("job"))
        until(lambda: worker.controller is not silent, "another consumer takes its place")
        hears(worker)
        receipt = ask(doors, 5)
        ring(doors, waiting_job(doors))
        until(lambda: completed(doors, receipt["id"]), "the deletion completes")


def test_a_message_that_finds_every_hand_busy_waits_and_is_not_lost(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    built(doors, repair=False)
    with answering(doors) as worker:
        hears(worker)
        for hand in worker.hands:
            hand.free.acquire()
        receipt = ask(doors, 5)
        ring(doors, waiting_job(doors))
        until(lambda: depth(doors) == 0, "a thread holds the message")
        for hand in worker.hands:
            hand.free.release()
        until(lambda: completed(doors, receipt["id"]), "the deletion completes")


def depth(doors: Doors) -> int:
    bell = Doorbell(doors.settings)
    try:
        return bell.depth(Lane.DEACTIVATE)
    finally:
        bell.hang_up()


def test_a_worker_for_deletions_loads_no_torch() -> None:
    """Not by importing, and not by running: `lethe worker --queues cpu` is this class and these lanes."""
    script = (
        "import sys, threading, cli.serve, worker.consumer, worker.dispatcher, worker.loop\n"
        "sys.exit(', '.join(sorted({'torch', 'transformers'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
