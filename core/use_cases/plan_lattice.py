"""Say what a lattice would bear and cost, before anybody registers a model on it. Nothing is read and nothing is kept.

Planning is arithmetic in the process that also takes deletion requests, so one plan may take only so much work, and only a
few are made at once: whoever asks for more is told so, and deletions go on.
"""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Any

from core.domain.access import Caller, Scope
from core.domain.errors import Unavailable
from core.lattice.planner.effort import limited
from core.lattice.planner.plan import plan
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.target import Target, shortfalls

MOST_STEPS = 30_000_000
"""What one question may take: two seconds of one core where it was measured, most take a tenth of that."""
AT_ONCE = 2
_turns = BoundedSemaphore(AT_ONCE)


def plan_lattice(question: PlanQuestion, target: Target | None, *, caller: Caller) -> dict[str, Any]:
    """Return the plan, and a sentence for each part of the target that it is not expected to meet.

    Raises:
        PlanTooLarge: it would take too much work.
        Unavailable: others are being planned.
    """
    caller.require(Scope.MODELS_READ)
    if not _turns.acquire(blocking=False):
        raise Unavailable(f"{AT_ONCE} other plans are being made; try again in a moment")
    try:
        with limited(MOST_STEPS):
            return {
                "object": "plan",
                **plan(question).as_json(),
                "warnings": [] if target is None else shortfalls(question, target),
            }
    finally:
        _turns.release()
