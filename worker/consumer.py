"""The worker of a production deployment: Celery's messages wake its hands, and the hands also look on their own.

    message ──▶ Celery thread ──▶ a free hand ──▶ the job it names, or the most urgent one ──▶ … until none is left
    nothing for LETHE_POLL_SECONDS, or no broker ──▶ the hand looks by itself

A thread of the pool works until the table has no more for it, so a busy worker takes no message from an idle one. The
pool is one of threads, never of forked processes: CUDA does not survive a fork, and training is a subprocess anyway.

A Celery consumer may lose its connection, or go on living and hear nothing (celery #10205). So none is trusted for long:
one that lost its connection is thrown away, and a fresh one begins when the broker answers again; one that leaves
messages in the queue while every hand is idle is replaced too. Neither touches a job in work.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from celery.concurrency.thread import TaskPool  # type: ignore[import-untyped]
from celery.worker import state  # type: ignore[import-untyped]
from kombu.asynchronous import get_event_loop, set_event_loop

from core.domain.job import Lane
from core.use_cases.doors import Doors
from worker.doorbell import Doorbell, celery_app, queue_name
from worker.hand import Hand
from worker.loop import make_hands, own_name

log = structlog.get_logger()
ALONE_SECONDS = 1.0
"""How often idle hands look on their own while no message could reach them."""
WATCH_SECONDS = 3.0
"""How often the broker is asked whether it is there, and whether it holds messages that should have reached us."""
SILENT_LOOKS = 2
"""So many looks in a row that find messages waiting and every hand idle: the consumer hears nothing."""
STUCK_SECONDS = 60.0
"""A consumer that was told to end and does not within that time takes its process with it, once no hand is at work."""
STUCK = 75
IDENTIFIER = re.compile(r"[a-z]{2,8}_[0-9a-z]{26}")


class BellPool(TaskPool):  # type: ignore[misc]
    """Celery's threads, which outlive a consumer that lost its connection, and wake its loop when one is free again."""

    def on_apply(self, *arguments: Any, **options: Any) -> Any:
        applied = super().on_apply(*arguments, **options)
        applied.f.add_done_callback(_wake)
        return applied

    def on_stop(self) -> None:
        """Take no more messages; jobs in work go on."""
        self.executor.shutdown(wait=False, cancel_futures=True)


def _wake(_: Any) -> None:
    # Without it the loop sees only at its next turn, up to a second later, that it may take a message again.
    hub = get_event_loop()
    if hub is not None:
        with suppress(OSError):  # it ended meanwhile
            hub.call_soon(_nothing)  # type: ignore[no-untyped-call]


def _nothing() -> None:
    pass


class BellWorker:
    """One worker process: hands for its lanes, a Celery consumer that wakes them, and a watch over both.

    One a process: Celery keeps its event loop, and its order to stop, in globals.
    """

    def __init__(self, doors: Doors, lanes: Sequence[Lane]) -> None:
        """Start nothing yet; `lanes` says which queues it takes messages from."""
        self.doors, self.lanes = doors, lanes
        self.name = own_name("worker")
        self.stopping = threading.Event()
        # One for each thread that asks: connections are not shared.
        self._watch_bell, self._consume_bell = Doorbell(doors.settings), Doorbell(doors.settings)
        self.hands: list[Hand] = []
        self.controller: Any = None
        self._app = celery_app(doors.settings, self.answer)
        self._app.set_default()  # else the pool's threads look for the task in an empty application of their own
        self._hears = threading.Event()
        self._silent_looks = 0
        self._told_to_end = 0.0

    def run(self) -> None:
        """Work until `stop` is called; then hand back what is not done, and return within seconds."""
        self.hands = make_hands(self.doors, self.lanes, self.name, self.stopping, deactivations=2)
        threads = [threading.Thread(target=hand.poll, args=(self.interval,), name=hand.loop) for hand in self.hands]
        consumer = threading.Thread(target=self._consume, name="consumer")
        for thread in [*threads, consumer]:
            thread.start()
        while not self.stopping.wait(WATCH_SECONDS):
            self._watch()
        self._end_consumer()
        self._watch_bell.hang_up()
        for thread in [*threads, consumer]:
            thread.join()
        for hand in self.hands:
            with hand.free:  # a thread of the pool may still be handing its job back
                hand.work.close()

    def stop(self) -> None:
        self.stopping.set()

    def hears(self) -> bool:
        """Whether messages can reach this worker now, as far as it knows."""
        return self._hears.is_set()

    def interval(self) -> float:
        """Return after how many seconds an idle hand looks by itself."""
        poll = self.doors.settings.poll_seconds
        return poll if self._hears.is_set() else min(poll, ALONE_SECONDS)

    def answer(self, *words: Any, **_: Any) -> None:
        """Do what a message asks for: look at the table. Whatever else it says is only a hint, or nonsense."""
        queue, job_id = (*words, None, None)[:2]
        if not (isinstance(job_id, str) and IDENTIFIER.fullmatch(job_id)):
            job_id = None
        wanted = [hand for hand in self.hands if hand.lane.queue == queue] or self.hands
        # Nobody free: the message waits here, as it would in the queue; afterwards there may be nothing left to do.
        while not self.stopping.is_set():
            if any(hand.try_to_finish(job_id) for hand in wanted):
                return
            self.stopping.wait(0.1)

    def _consume(self) -> None:
        """Keep a consumer running while the broker answers."""
        while not self.stopping.is_set():
            if self._depth(self._consume_bell) is None:
                self._hears.clear()
                self.stopping.wait(ALONE_SECONDS)
                continue
            try:
                self._consume_once()
            except Exception as error:  # noqa: BLE001 - whatever ended it, the next one begins anew
                log.error("bell.trouble", kind=type(error).__name__)
            self._hears.clear()
            if not self.stopping.is_set():
                log.warning("bell.consumer_ended")
                self.stopping.wait(ALONE_SECONDS)
        self._consume_bell.hang_up()

    def _consume_once(self) -> None:
        # A consumer that ended leaves its event loop and its order to stop behind, both global.
        set_event_loop(None)
        state.should_stop = None
        self._told_to_end = 0.0
        self._silent_looks = 0
        self.controller = self._app.WorkController(
            hostname=self.name,
            pool=BellPool,
            concurrency=len(self.hands),
            queues=[queue_name(self.doors.settings, lane) for lane in self.lanes],
            ready_callback=lambda _: self._hears.set(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        if not self.stopping.is_set():
            self.controller.start()

    def _watch(self) -> None:
        depth = self._depth(self._watch_bell)
        if depth is None:
            if self._hears.is_set():
                self._hears.clear()
                self._end_consumer()  # a fresh one begins when the broker answers
            return
        idle = not any(hand.free.locked() for hand in self.hands)
        overheard = depth > 0 and idle and self._hears.is_set()
        self._silent_looks = self._silent_looks + 1 if overheard else 0
        if self._silent_looks >= SILENT_LOOKS:
            log.error("bell.silent", messages=depth)
            self._hears.clear()
            self._end_consumer()
        if self._told_to_end and idle and time.monotonic() - self._told_to_end > STUCK_SECONDS:
            log.error("bell.stuck")
            os._exit(STUCK)  # whoever started this process starts it again

    def _depth(self, doorbell: Doorbell) -> int | None:
        """Return how many messages wait in our queues; None when the broker does not say."""
        try:
            return sum(doorbell.depth(lane) for lane in self.lanes)
        except Exception as error:  # noqa: BLE001 - each transport has errors of its own
            if self._hears.is_set():
                log.warning("bell.broker_gone", kind=type(error).__name__)
            doorbell.hang_up()
            return None

    def _end_consumer(self) -> None:
        """Tell the consumer to end, whichever thread asks."""
        self._told_to_end = self._told_to_end or time.monotonic()
        state.should_stop = os.EX_OK
        _wake(None)
