"""Workers and their training processes are killed, and frozen for longer than their lease, at random, while people are deleted."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import FULL, Stacks
from tests.faults.weather import storm
from tests.faults.worlds import OWNERS

SEEDS = range(5) if FULL else range(1)
STRIKES, DELETIONS = (24, 10) if FULL else (6, 3)
"""A deletion makes about seven jobs: one that switches off, one that plans the shard, and one a node."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_stale(new_stack: Stacks, seed: int) -> None:
    chance = random.Random(seed)
    owners = iter(chance.sample(range(OWNERS), DELETIONS))
    with new_stack() as stack:
        stack.start("worker-1", "worker")
        stack.start("worker-2", "worker")

        def ask() -> None:
            owner = next(owners, None)
            if owner is not None:
                stack.ask(owner)

        storm(stack, chance, strikes=STRIKES, between=ask)
        stack.settle()
        stack.prove()
