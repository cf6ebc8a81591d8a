"""How much a plan may take: the planner counts its steps, and stops where whoever asked set a limit.

Steps, not seconds: the same question has the same answer on a busy machine. Without a limit nothing is counted, as on the
command line, where everybody burns time of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.domain.errors import PlanTooLarge

_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)


@contextmanager
def limited(steps: int) -> Iterator[None]:
    """Let the planning inside the `with` take so many steps, each about as long as one simulated hit.

    Raises:
        PlanTooLarge: it would take more.
    """
    before = _left.set([steps])
    try:
        yield
    finally:
        _left.reset(before)


def spend(steps: int) -> None:
    """Count steps that are about to be taken.

    Raises:
        PlanTooLarge: they are more than are left.
    """
    left = _left.get()
    if left is None:
        return
    left[0] -= steps
    if left[0] < 0:
        raise PlanTooLarge(
            "this plan takes more work than the service spends on one; ask about fewer shards, slices, deletions or "
            "records per owner, or run `lethe plan` on a machine of your own, which has no limit"
        )
