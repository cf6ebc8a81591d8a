"""The doorbell at its worst: forgetful, dead, stuttering, rung by two. The table is the queue, so it only costs time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis as Client

from core.faults import DISPATCHER_POINTS
from tests.faults.conftest import FULL, Stacks
from tests.faults.messages import FROM, TO, carrying, nonsense
from tests.faults.processes import UNGUARDED
from tests.faults.proof import Wrong, is_settled
from tests.faults.stack import Stack
from tests.faults.worlds import World, Worlds
from tests.servers import Redis

OUTAGE_SECONDS = 60.0 if FULL else 6.0
UNPOLLED = {UNGUARDED: "poll"}
"""For workers that hear of a job from the broker alone, so that nothing else saves the day."""
pytestmark = pytest.mark.timeout(600)


@contextmanager
def production(
    new_stack: Stacks, server: Redis, built: World | None, *queues: str, **variables: str
) -> Iterator[Stack]:
    """Run the workers of a production deployment, one for each queue, and return when they hear the broker."""
    forget(server)
    with new_stack(built, LETHE_BROKER_URL=server.url, LETHE_QUEUE_PREFIX=TO, **variables) as stack:
        for queue in queues:
            stack.start(queue, "worker", "--queues", queue)
        with Client.from_url(server.url) as broker:
            for queue in queues:
                broker.lpush(f"{TO}{queue}", nonsense(queue))
            names = [f"{TO}{queue}" for queue in queues]
            stack.wait(lambda: not any(broker.llen(name) for name in names), "the workers hear nothing")
        time.sleep(1.0)  # whoever was rung looks at the table, and must not find there what a test is about to ask for
        yield stack


def forget(server: Redis) -> None:
    with Client.from_url(server.url) as broker:
        broker.flushall()


def test_a_flushed_and_a_dead_broker_only_slow_us(new_stack: Stacks, redis_server: Redis) -> None:
    with production(new_stack, redis_server, None, "cpu", "gpu") as stack:
        stack.start("dispatcher", "dispatcher")
        stack.ask(5)
        for _ in range(20):
            forget(redis_server)
            time.sleep(0.1)
        stack.settle()
        redis_server.kill()
        try:
            began = time.monotonic()
            stack.ask(9)
            stack.settle()  # nobody rings, and everything is done
            time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - began)))
        finally:
            redis_server.start()
        stack.ask(13)
        stack.settle()
        stack.prove()


def test_without_polling_a_dead_broker_stops_us(new_stack: Stacks, redis_server: Redis, worlds: Worlds) -> None:
    unrepaired = worlds.built(repair=False)
    with production(new_stack, redis_server, unrepaired, "cpu", **UNPOLLED) as stack:
        stack.start("dispatcher", "dispatcher")
        redis_server.kill()
        try:
            stack.ask(5)
            never_done(stack)
        finally:
            redis_server.start()
        stack.settle()
        stack.prove()


def test_messages_are_lost_tripled_shuffled_and_sent_by_two(
    new_stack: Stacks, redis_server: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "points"
    owners = iter(range(18))
    with production(new_stack, redis_server, None, "cpu", "gpu", **UNPOLLED) as stack:
        for name in ("dispatcher-1", "dispatcher-2"):
            stack.start(name, "dispatcher", LETHE_QUEUE_PREFIX=FROM, LETHE_FAULT_FILE=str(file))
        lose_a_message(stack, redis_server, owner=next(owners))
        with carrying(redis_server.url, random.Random(0)) as carrier:
            file.write_text("\n".join(DISPATCHER_POINTS))
            for _ in range(3):
                stack.ask(next(owners))

            def struck() -> bool:
                stack.revive()
                if file.exists() and is_settled(stack.doors, stack.story):
                    stack.ask(next(owners))
                return not file.exists()

            stack.wait(struck, "no dispatcher is killed")
            stack.settle()
            assert carrier.given > 3 * carrier.taken > 0
        stack.prove()


def test_without_the_sweep_a_lost_message_is_lost_for_good(
    new_stack: Stacks, redis_server: Redis, worlds: Worlds
) -> None:
    unrepaired = worlds.built(repair=False)
    with production(new_stack, redis_server, unrepaired, "cpu", **{UNGUARDED: "poll,sweeper"}) as stack:
        stack.start("dispatcher", "dispatcher", LETHE_QUEUE_PREFIX=FROM)
        lose_a_message(stack, redis_server, owner=5)
        with carrying(redis_server.url, random.Random(0)):
            never_done(stack)
            stack.end("dispatcher")
            stack.start("dispatcher", "dispatcher", LETHE_QUEUE_PREFIX=FROM, **UNPOLLED)
            stack.settle()
        stack.prove()


def lose_a_message(stack: Stack, server: Redis, owner: int) -> None:
    """Have a deletion rung for, and every message about it forgotten before anybody hears it."""
    with Client.from_url(server.url) as broker:
        stack.ask(owner)
        stack.wait(lambda: broker.llen(f"{FROM}cpu"), "nobody rings")
        broker.delete(f"{FROM}cpu")
    assert not is_settled(stack.doors, stack.story)


def never_done(stack: Stack) -> None:
    """Give a deletion more time than it takes, and see that it needs something else."""
    with pytest.raises(AssertionError, match="it never comes to rest"):
        stack.settle(seconds=5)
    with pytest.raises(Wrong) as wrong:
        stack.prove(fresh=False)
    assert "request_not_completed" in wrong.value.codes
