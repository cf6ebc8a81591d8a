"""Random strikes on a stack's processes, by a seed: SIGKILL, and SIGSTOP for longer than a lease.

A strike waits until some job has ended since the last one, so that work goes on however slow the machine is and however
long a worker takes to come back; it never waits for longer than a worker can be silent.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from core.persistence import jobs
from tests.faults.processes import send
from tests.faults.stack import LEASE_SECONDS, Stack

log = structlog.get_logger()
FROZEN_SECONDS = 1.6 * float(LEASE_SECONDS)
CALM_SECONDS = 8.0


def strike(stack: Stack, chance: random.Random) -> str:
    """Hurt one process, or one and all its children, and bring it back; return what was done."""
    families = {name: process.family() for name, process in stack.processes.items()}
    alive = {name: family for name, family in families.items() if family}
    if not alive:
        stack.revive()
        return "nobody was left"
    name = chance.choice(sorted(alive))
    family = alive[name]
    victims = chance.choice([family[:1], [chance.choice(family)], family])
    if chance.random() < 0.5:
        for pid in victims:
            send(pid, signal.SIGKILL)
        done = "killed"
    else:
        frozen = [pid for pid in victims if send(pid, signal.SIGSTOP)]
        time.sleep(FROZEN_SECONDS)
        for pid in frozen:
            send(pid, signal.SIGCONT)
        done = "froze"
    stack.revive()
    return f"{done} {len(victims)} of {len(family)} of {name}"


def storm(stack: Stack, chance: random.Random, *, strikes: int, between: Callable[[], None]) -> None:
    """Strike again and again while work goes on; `between` is called before each strike, and asks for more work."""
    for _ in range(strikes):
        between()
        _wait_for_work(stack)
        time.sleep(chance.uniform(0.0, 0.7))
        # Shown with a test that fails, to read the processes' logs by.
        log.info("strike", done=strike(stack, chance))


def _wait_for_work(stack: Stack) -> None:
    before, give_up = _ended(stack), time.monotonic() + CALM_SECONDS
    while time.monotonic() < give_up and _ended(stack) <= before:
        time.sleep(0.05)


def _ended(stack: Stack) -> int:
    try:
        with stack.doors.database.transaction() as session:
            query = select(func.count()).select_from(jobs.jobs).where(jobs.jobs.c.state == "done")
            return int(session.execute(query).scalar_one())
    except DBAPIError:
        return -1
