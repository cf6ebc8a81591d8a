"""Workers and their training processes are killed, and frozen for longer than their lease, at random, while people are deleted."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import func, select

from core.persistence import jobs
from tests.faults.conftest import FULL, Stacks
from tests.faults.stack import Stack
from tests.faults.weather import storm
from tests.faults.worlds import OWNERS, Worlds

SEEDS = range(5) if FULL else range(1)
STRIKES, JOBS, MODELS = (16, 80, 2) if FULL else (5, 20, 1)
"""A deletion makes seven jobs per model at most: one that switches off, one that plans the shard, and one a node.

They are fewer when people of one slice are deleted together; with one model, half of the people would not make enough.
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_stale(new_stack: Stacks, worlds: Worlds, seed: int) -> None:
    chance = random.Random(seed)
    # A fresh build to compare with needs the other half.
    owners = iter(chance.sample(range(OWNERS), OWNERS // 2))
    with new_stack(worlds.built(MODELS)) as stack:
        before = counted(stack)
        stack.start("worker-1", "worker")
        stack.start("worker-2", "worker")

        def ask() -> None:
            if counted(stack) - before < JOBS:
                stack.ask(next(owners))

        storm(stack, chance, strikes=STRIKES, between=ask)
        stack.settle()
        while counted(stack) - before < JOBS:
            storm(stack, chance, strikes=1, between=ask)
            stack.settle()
        stack.prove()


def counted(stack: Stack) -> int:
    with stack.doors.database.transaction() as session:
        return int(session.execute(select(func.count()).select_from(jobs.jobs)).scalar_one())
