"""The dispatcher: rings once a job, again for those that nobody took, never more than there is to do, broker or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from core.domain.job import Lane
from core.persistence import bells, jobs
from core.use_cases.doors import Doors
from tests.integration.bells import PATIENCE, answering, hears, messages, on_broker, until
from tests.integration.world import ask, built, request_of
from tests.servers import Redis, redis
from worker.dispatcher import MOST_MESSAGES, BrokerGone, Dispatcher, Ringer
from worker.doorbell import Doorbell


@pytest.fixture(scope="module")
def broker() -> Iterator[Redis]:
    with redis() as server:
        yield server


@contextmanager
def ringing(doors: Doors) -> Iterator[Ringer]:
    ringer = Ringer(doors, Doorbell(doors.settings))
    yield ringer
    ringer.doorbell.hang_up()


@contextmanager
def dispatching(doors: Doors, count: int = 1) -> Iterator[None]:
    dispatchers = [Dispatcher(doors) for _ in range(count)]
    threads = [threading.Thread(target=one.run) for one in dispatchers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for one in dispatchers:
            one.stop()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)


def completed(doors: Doors, request: str) -> bool:
    return bool(request_of(doors, request)["state"] == "completed")


def test_it_rings_once_for_a_job_and_again_only_at_a_sweep(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    built(doors, repair=False)
    for owner in (5, 6):
        ask(doors, owner)
    with ringing(doors) as ringer:
        assert (ringer.ring(Lane.DEACTIVATE), ringer.ring(Lane.DEACTIVATE)) == (2, 0)
        sent = messages(doors)
        assert ringer.ring(Lane.DEACTIVATE, again=True) == 2
        assert ringer.ring(Lane.COMPUTE, again=True) == 0
        with doors.database.transaction() as session:
            [job, _] = bells.claimable(session, Lane.DEACTIVATE, 10)
        # What travels: a queue's name and a job's id.
        assert job[0] in "".join(one["headers"]["argsrepr"] for one in sent)
        assert {one["content-type"] for one in sent} == {"application/json"}


def test_messages_that_nobody_takes_do_not_pile_up(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    built(doors, repair=False)
    for owner in (5, 6, 7):
        ask(doors, owner)
    with ringing(doors) as ringer, ringing(doors) as other:
        for _ in range(5):
            ringer.ring(Lane.DEACTIVATE, again=True)
            other.ring(Lane.DEACTIVATE, again=True)
        assert ringer.doorbell.depth(Lane.DEACTIVATE) == 3
        ask(doors, 8)
        assert ringer.ring(Lane.DEACTIVATE) == 1
        assert len(messages(doors)) == 4
    assert MOST_MESSAGES >= 100


def test_a_job_that_comes_back_is_rung_for_anew(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url)
    built(doors, repair=False)
    ask(doors, 5)
    with ringing(doors) as ringer:
        assert ringer.ring(Lane.DEACTIVATE) == 1
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="test", lease=60)
        assert job is not None
        messages(doors)
        assert ringer.ring(Lane.DEACTIVATE) == 0
        with doors.database.transaction() as session:
            jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
        assert ringer.ring(Lane.DEACTIVATE) == 1


def test_what_it_rings_for_is_what_a_worker_could_claim(doors: Doors) -> None:
    built(doors, repair=False)
    for owner in (5, 6):
        ask(doors, owner)

    def listed() -> list[str]:
        with doors.database.transaction() as session:
            return [job for job, _ in bells.claimable(session, Lane.DEACTIVATE, 10)]

    waiting = listed()
    assert len(waiting) == 2
    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="test", lease=60)
    assert job is not None
    # One model, one running deactivation: the other one cannot be claimed now.
    assert (job.id, listed()) == (waiting[0], [])
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET state = 'verifying' WHERE state = 'running' AND lane = 'deactivate'"))
    assert listed() == waiting[1:]
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET lease_until = NULL WHERE state = 'verifying'"))
    assert listed() == waiting
    with doors.database.transaction() as session:
        session.execute(text("UPDATE jobs SET run_after = clock_timestamp() + interval '1 hour'"))
    assert listed() == []


def test_a_broker_that_is_gone_is_said_and_rung_again_when_it_returns(doors: Doors) -> None:
    with redis() as server:
        doors = on_broker(doors, server.url)
        built(doors, repair=False)
        ask(doors, 5)
        with ringing(doors) as ringer:
            server.kill()
            with pytest.raises(BrokerGone):
                ringer.ring(Lane.DEACTIVATE)
            server.start()
            assert ringer.ring(Lane.DEACTIVATE) == 1


def test_two_dispatchers_side_by_side_do_everything_once(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url, sweep_seconds=0.2)
    built(doors, repair=False)
    with dispatching(doors, count=2), answering(doors) as worker:
        hears(worker)
        receipts = [ask(doors, owner) for owner in range(5, 12)]
        until(lambda: all(completed(doors, receipt["id"]) for receipt in receipts), "the deletions complete")
    with doors.database.transaction() as session:
        ends = session.execute(text("SELECT state, count(*) FROM jobs WHERE lane = 'deactivate' GROUP BY state")).all()
        certified = session.execute(text("SELECT count(*) FROM certificates")).scalar_one()
    assert [tuple(end) for end in ends] == [("done", len(receipts))]
    assert certified == len(receipts)


def test_a_message_lost_on_its_way_is_sent_again_by_the_next_sweep(doors: Doors, broker: Redis) -> None:
    doors = on_broker(doors, broker.url, sweep_seconds=1.0)
    built(doors, repair=False)
    with dispatching(doors):
        receipt = ask(doors, 5)
        until(lambda: messages(doors), "it rings")  # and the message is gone
        with answering(doors):
            until(lambda: completed(doors, receipt["id"]), "the deletion completes")


def test_upkeep_goes_on_without_a_broker(doors: Doors) -> None:
    with redis() as server:
        server.kill()
        doors = on_broker(doors, server.url)
        built(doors, repair=False)
        receipt = ask(doors, 5)
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.DEACTIVATE, worker="dead", lease=0.0)
        assert job is not None
        with dispatching(doors):
            until(lambda: _state(doors, job.id) == "waiting", "the reaper frees a dead worker's job")
        assert not completed(doors, receipt["id"])


def _state(doors: Doors, job: str) -> str:
    with doors.database.transaction() as session:
        return str(session.execute(text("SELECT state FROM jobs WHERE id = :id"), {"id": job}).scalar_one())


def test_queues_carry_the_deployments_prefix(doors: Doors, broker: Redis) -> None:
    mine, other = on_broker(doors, broker.url), on_broker(doors, broker.url)
    built(doors, repair=False)
    ask(doors, 5)
    with ringing(mine) as ringer:
        assert ringer.ring(Lane.DEACTIVATE) == 1
    assert (messages(other), len(messages(mine))) == ([], 1)
    assert replace(mine).settings.queue_prefix.startswith("test-")
