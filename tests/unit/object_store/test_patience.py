from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from core.domain.errors import SealBroken, StoreUnavailable
from core.metrics import REGISTRY
from core.object_store.patience import Passing, Patience, patiently

TROUBLE = StoreUnavailable("it does not answer")


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class Door:
    """Something that fails a number of times before it opens."""

    failures: int
    patience: Patience = field(default_factory=lambda: Patience(30))
    trouble: Passing | Exception = field(default_factory=lambda: Passing(TROUBLE))
    knocks: int = 0

    @patiently
    def knock(self, times: int) -> int:
        self.knocks += 1
        if self.knocks <= self.failures:
            raise self.trouble
        return times


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


def test_what_passes_is_tried_again(clock: Clock) -> None:
    door = Door(failures=5)
    assert door.knock(7) == 7
    assert door.knocks == 6
    assert len(clock.pauses) == 5


def test_pauses_double_up_to_a_limit_and_are_shortened_by_chance(clock: Clock) -> None:
    Door(failures=12, patience=Patience(1000, first_pause=1, longest_pause=8)).knock(1)
    longest = [1, 2, 4, *[8] * 9]
    assert all(most / 2 <= pause <= most for pause, most in zip(clock.pauses, longest, strict=True))
    assert len(set(clock.pauses)) > 3, "workers that fail together come back apart"


def test_patience_ends_and_the_trouble_becomes_an_error(clock: Clock) -> None:
    door = Door(failures=10**9, patience=Patience(10))
    with pytest.raises(StoreUnavailable, match="it does not answer"):
        door.knock(1)
    assert 8 <= clock.now <= 10
    assert door.knocks > 5


def test_no_patience_means_one_attempt(clock: Clock) -> None:
    door = Door(failures=1, patience=Patience(0))
    with pytest.raises(StoreUnavailable):
        door.knock(1)
    assert (door.knocks, clock.pauses) == (1, [])


def test_some_trouble_is_believed_after_a_few_attempts(clock: Clock) -> None:
    door = Door(failures=10**9, trouble=Passing(SealBroken(), attempts=3))
    with pytest.raises(SealBroken):
        door.knock(1)
    assert door.knocks == 3
    assert len(clock.pauses) == 2


def test_what_does_not_pass_is_not_tried_again(clock: Clock) -> None:
    door = Door(failures=1, trouble=SealBroken())
    with pytest.raises(SealBroken):
        door.knock(1)
    assert (door.knocks, clock.pauses) == (1, [])


def test_what_was_tried_again_and_what_came_to_nothing_is_counted(clock: Clock) -> None:
    def counted(what: str) -> float:
        return REGISTRY.get_sample_value(f"lethe_object_store_{what}_total", {"operation": "knock"}) or 0.0

    before = counted("retries"), counted("errors")
    Door(failures=2).knock(1)
    assert clock.pauses
    assert (counted("retries"), counted("errors")) == (before[0] + 2, before[1])
    with pytest.raises(StoreUnavailable):
        Door(failures=1, patience=Patience(0)).knock(1)
    assert (counted("retries"), counted("errors")) == (before[0] + 2, before[1] + 1)


def test_a_repeated_method_keeps_its_name() -> None:
    assert Door.knock.__name__ == "knock"
