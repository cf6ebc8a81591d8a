"""When to stop before the last epoch. A rule looks at the live metrics after each epoch and may go back to an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.unlearning.approximate.kitchen import Kitchen, Live

GOOD = "good"


class Stop(Protocol):
    def check(self, kitchen: Kitchen, live: Live) -> str | None:
        """Return why to stop now, or None."""


@dataclass(frozen=True)
class UtilityFloor:
    """Stop, and go back by one epoch, when rows that stay are answered worse than before by more than this."""

    largest_drop: float

    def check(self, kitchen: Kitchen, live: Live) -> str | None:
        score = live.holdout_score if live.holdout_score is not None else live.retain_score
        before = kitchen.before.holdout_score if live.holdout_score is not None else kitchen.before.retain_score
        if score is None or before is None or score >= before - self.largest_drop:
            kitchen.remember(GOOD)
            return None
        if kitchen.remembers(GOOD):
            kitchen.recall(GOOD)
        else:
            # Not one epoch was good: the seal then finds the original, and refuses it.
            kitchen.student.load_state_dict(kitchen.original.state_dict())
        return "utility_floor"


@dataclass(frozen=True)
class RewindToHoldout:
    """Keep every epoch's weights only if its forget score is the closest yet to that of rows never seen (arXiv:2302.09880)."""

    epochs: int

    def check(self, kitchen: Kitchen, live: Live) -> str | None:
        if live.holdout_score is None:
            return None
        gap = abs(live.forget_score - live.holdout_score)
        if gap < kitchen.noted.get("smallest_gap", float("inf")):
            kitchen.noted["smallest_gap"] = gap
            kitchen.remember(GOOD)
        if live.epochs_done < self.epochs:
            return None
        kitchen.recall(GOOD)
        return "rewound_to_holdout"
