"""A worker on a broker, in this process, and what tests do to the broker behind its back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from kombu.connection import Connection

from core.domain.job import Lane
from core.use_cases.doors import Doors
from worker.consumer import BellWorker
from worker.doorbell import TASK, queue_name

PATIENCE = 90.0
NEVER = 3600.0


def on_broker(doors: Doors, url: str, **more: Any) -> Doors:
    """Return the same doors with a broker, and queues of their own on it; nobody polls unless the broker is gone."""
    wanted = {"broker_url": url, "queue_prefix": f"test-{uuid4().hex[:8]}-", "poll_seconds": NEVER, **more}
    return replace(doors, settings=doors.settings.model_copy(update=wanted))


@contextmanager
def answering(doors: Doors, *lanes: Lane) -> Iterator[BellWorker]:
    """Run a worker in a thread; only for deactivations, unless said."""
    worker = BellWorker(doors, lanes or (Lane.DEACTIVATE,))
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(good: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not good():
        assert time.monotonic() < give_up, f"never: {what}"
        time.sleep(0.02)


def hears(worker: BellWorker) -> None:
    until(worker.hears, "the worker hears its broker")


def messages(doors: Doors, lane: Lane = Lane.DEACTIVATE) -> list[dict[str, Any]]:
    """Take every message out of a Redis queue, as it lies there."""
    found = []
    with Connection(doors.settings.broker_url) as connection:  # type: ignore[no-untyped-call]
        client = connection.default_channel.client
        while (raw := client.lpop(queue_name(doors.settings, lane))) is not None:
            found.append(json.loads(raw))
    return found


def put(doors: Doors, *raw: bytes | dict[str, Any], lane: Lane = Lane.DEACTIVATE) -> None:
    """Put messages into a Redis queue as they are."""
    with Connection(doors.settings.broker_url) as connection:  # type: ignore[no-untyped-call]
        for one in raw:
            content = one if isinstance(one, bytes) else json.dumps(one).encode()
            connection.default_channel.client.lpush(queue_name(doors.settings, lane), content)


def send(doors: Doors, body: Any, lane: Lane = Lane.DEACTIVATE, **headers: Any) -> None:
    """Send a task message with any body, as somebody who knows the broker could."""
    headers = {"id": uuid4().hex, "task": TASK, "lang": "py", "argsrepr": "", "kwargsrepr": "", **headers}
    with Connection(doors.settings.broker_url) as connection, connection.Producer() as producer:  # type: ignore[no-untyped-call]
        producer.publish(
            body,
            headers=headers,
            routing_key=queue_name(doors.settings, lane),
            exchange="",
            serializer="json",
            content_encoding="utf-8",
            correlation_id=headers["id"],
        )
