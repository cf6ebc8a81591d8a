"""An object store that fails, stalls, breaks off and lies, between the workers and a real one: work waits, and nothing is believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.conftest import Stacks
from tests.faults.processes import UNGUARDED
from tests.faults.proof import Wrong, is_settled
from tests.faults.stack import Stack
from tests.faults.test_guards import silence
from tests.faults.unguarded import take_out
from tests.faults.worlds import Worlds
from tests.integration import world
from tests.servers import Ceph
from tests.servers.faulty_http import Fault, FaultyHTTP, alter, answer, cut, late, lose_answer, reset, shorten, swallow

HASTY = {"LETHE_S3_RETRY_SECONDS": "1", "LETHE_S3_TIMEOUT_SECONDS": "2"}
"""A worker that gives up soon meets the same trouble in its jobs, and not only in one request."""


@pytest.fixture
def proxy(gateway: Ceph) -> Iterator[FaultyHTTP]:
    with FaultyHTTP(gateway.port) as proxy:
        yield proxy


@pytest.fixture
def bucket(gateway: Ceph, proxy: FaultyHTTP) -> Callable[..., dict[str, str]]:
    """Return the settings of a bucket that nobody else has, behind the proxy."""

    def settings(name: str) -> dict[str, str]:
        own = {"LETHE_S3_ENDPOINT": proxy.url, "LETHE_S3_BUCKET": f"faults-{name}"}
        return {**gateway.variables(), **own, **HASTY}

    return settings


def test_a_store_in_trouble_delays_and_spoils_nothing(
    new_stack: Stacks, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(**bucket("trouble")) as stack:
        stack.start("worker", "worker")
        for method in ("PUT", "GET", "DELETE"):
            proxy.inject(answer(500), method=method, times=3)
        stack.ask(5)
        for method, fault in (("GET", cut), ("GET", shorten), ("GET", alter), ("PUT", lose_answer), ("PUT", reset)):
            proxy.inject(fault, method=method)
        stack.settle()
        proxy.inject(late(4.0), method="GET", times=2)
        proxy.inject(late(4.0), method="DELETE", times=2)
        stack.ask(9)
        stack.settle()
        # Gone for good, for as long as somebody cares to look.
        proxy.inject(answer(503, code="SlowDown"), times=None)
        stack.ask(13)
        stack.wait(lambda: "trouble" in stack.processes["worker"].last_words(), "the worker notices nothing")
        proxy.heal()
        stack.settle()
        stack.prove()


LIES: dict[str, tuple[str, Fault, str, str]] = {
    "shortened": ("GET", shorten, "reading_again", "job_not_done"),
    "altered": ("GET", alter, "reading_again", "job_not_done"),
    "lost": ("PUT", swallow(200), "head_after_put", "fsck_object_missing"),
}
"""What a store does to one object → the guard that holds then, and what is found without it."""


def repair_while_it_lies(stack: Stack, proxy: FaultyHTTP, lie: str) -> None:
    method, fault, _, _ = LIES[lie]
    stack.ask(5)
    world.deactivate(stack.doors)
    proxy.inject(fault, method=method, path="/objects/")
    world.drain(stack.doors)


@pytest.mark.parametrize("lie", LIES)
def test_what_a_store_says_is_not_believed(
    new_stack: Stacks, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]], lie: str
) -> None:
    with new_stack(**bucket(f"{lie}-held")) as stack:
        repair_while_it_lies(stack, proxy, lie)
        stack.prove()


@pytest.mark.parametrize("lie", LIES)
def test_without_that_one_lie_fails_a_job_or_loses_a_node(
    new_stack: Stacks,
    proxy: FaultyHTTP,
    bucket: Callable[..., dict[str, str]],
    lie: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, guard, code = LIES[lie]
    with new_stack(**bucket(f"{lie}-believed")) as stack:
        take_out(guard, monkeypatch.setattr)
        repair_while_it_lies(stack, proxy, lie)
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert code in wrong.value.codes, wrong.value


def fail_once(stack: Stack, proxy: FaultyHTTP) -> None:
    """Let the store be away for one attempt of a training."""
    stack.ask(5)
    world.deactivate(stack.doors)
    proxy.inject(answer(500), path="/objects/", times=None)
    with pytest.raises(SystemExit):
        world.compute(stack.doors)
    proxy.heal()
    silence(stack.doors)
    world.drain(stack.doors)


def test_a_store_that_is_away_costs_an_attempt(
    new_stack: Stacks, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(**bucket("attempts"), LETHE_MAX_ATTEMPTS="2") as stack:
        fail_once(stack, proxy)
        stack.prove()


def test_without_another_attempt_a_node_stays_untrained(
    new_stack: Stacks, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(**bucket("attempt"), LETHE_MAX_ATTEMPTS="1") as stack:
        fail_once(stack, proxy)
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert "job_not_done" in wrong.value.codes, wrong.value


def test_without_a_timeout_a_store_that_stalls_stops_a_deletion(
    new_stack: Stacks, worlds: Worlds, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(worlds.built(repair=False), **bucket("stalls")) as stack:
        proxy.inject(late(600.0), method="DELETE")
        stack.start("worker", "worker", "--queues", "cpu", LETHE_S3_TIMEOUT_SECONDS="600")
        stack.ask(5)
        stack.wait(lambda: proxy.counted("DELETE"), "nothing is deleted")
        with pytest.raises(AssertionError, match="it never comes to rest"):
            stack.settle(seconds=5)
        stack.end("worker")
        stack.start("worker", "worker", "--queues", "cpu")
        stack.settle()
        stack.prove()


def lose_deletes(stack: Stack, proxy: FaultyHTTP) -> None:
    """Delete somebody while the store says that it deletes, and does not."""
    proxy.inject(swallow(), method="DELETE", times=None)
    before = proxy.counted("DELETE")
    stack.ask(5)
    stack.wait(lambda: proxy.counted("DELETE") >= before + 4, "nothing is deleted")


def test_what_a_store_only_claims_to_have_deleted_is_not_certified(
    new_stack: Stacks, worlds: Worlds, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(worlds.built(repair=False), **bucket("loses")) as stack:
        stack.start("worker", "worker", "--queues", "cpu")
        lose_deletes(stack, proxy)
        time.sleep(2.0)
        assert not is_settled(stack.doors, stack.story)
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert "request_not_completed" in wrong.value.codes
        proxy.heal()
        stack.settle()
        stack.prove()


def test_without_looking_after_a_delete_it_is_certified_and_lies_there(
    new_stack: Stacks, worlds: Worlds, proxy: FaultyHTTP, bucket: Callable[..., dict[str, str]]
) -> None:
    with new_stack(worlds.built(repair=False), **bucket("believes")) as stack:
        stack.start("worker", "worker", "--queues", "cpu", **{UNGUARDED: "head_after_delete"})
        lose_deletes(stack, proxy)
        stack.settle()
        with pytest.raises(Wrong) as wrong:
            stack.prove(fresh=False)
        assert wrong.value.codes == {"object_survives"}
