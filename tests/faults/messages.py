"""A broker at its worst, between the dispatcher and the workers: each message comes three times, out of order, beside nonsense.

The dispatcher rings into queues of one prefix, the workers listen to another's, and a thread of ours carries the
messages from here to there.
"""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import redis
from redis.exceptions import RedisError

from core.domain.job import Lane
from worker.doorbell import TASK

FROM, TO = "rung.", "heard."
AT_ONCE = 4
"""Messages are held back until there are so many, or none more come within a moment."""
WAIT_SECONDS = 0.2


class Carrier:
    """What was carried: how many messages came in, and how many copies went out."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.taken = self.given = 0
        self._url, self._chance = url, chance
        self._stopping = threading.Event()

    def run(self) -> None:
        with redis.Redis.from_url(self._url) as broker:
            while not self._stopping.is_set():
                for lane in Lane:
                    self._carry(broker, lane)
                self._stopping.wait(WAIT_SECONDS)

    def stop(self) -> None:
        self._stopping.set()

    def _carry(self, broker: Any, lane: Lane) -> None:
        try:
            held = [raw for _ in range(AT_ONCE) if (raw := broker.rpop(f"{FROM}{lane.queue}")) is not None]
            if not held:
                return
            copies = [copy_of(raw, lane) for raw in held * 3]
            copies.append(nonsense(lane.queue))
            self._chance.shuffle(copies)
            broker.lpush(f"{TO}{lane.queue}", *copies)
            self.taken, self.given = self.taken + len(held), self.given + len(copies)
        except RedisError:
            return


@contextmanager
def carrying(url: str, chance: random.Random) -> Iterator[Carrier]:
    """Carry messages until the `with` ends."""
    carrier = Carrier(url, chance)
    thread = threading.Thread(target=carrier.run)
    thread.start()
    try:
        yield carrier
    finally:
        carrier.stop()
        thread.join()


def copy_of(raw: bytes, lane: Lane) -> bytes:
    """Return the same message as one of its own, addressed to the workers' queue."""
    message: dict[str, Any] = json.loads(raw)
    message["properties"]["delivery_tag"] = str(uuid4())
    message["properties"]["delivery_info"]["routing_key"] = f"{TO}{lane.queue}"
    return json.dumps(message).encode()


def nonsense(queue: str) -> bytes:
    """Return a message for the workers that names a job which nobody knows."""
    body = [[queue, "job_" + "0" * 26], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    name = f"{TO}{queue}"
    message = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": str(uuid4()), "ignore_result": True},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": name},
            "delivery_mode": 1,
            "delivery_tag": str(uuid4()),
            "priority": 0,
        },
    }
    return json.dumps(message).encode()
