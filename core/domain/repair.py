"""How eagerly a model is repaired after deletions: not at all, fully, or within a budget of compute. Changeable any time.

The unit of the first budget is the slice-epoch of the planner: one pass over one slice, counted once for however many
epochs the recipe has, so a node of depth k costs k. The other counts the time that training processes really took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LARGEST = 1e6
SECONDS_AN_HOUR = 3600.0


class RepairMode(StrEnum):
    OFF = "off"
    """What deletions switched off stays off."""
    FULL = "full"
    """Everything that is missing is trained at once."""
    BUDGET = "budget"
    """Training goes on while the budget lasts, and again once there is more."""


@dataclass(frozen=True, kw_only=True)
class RepairBudget:
    """One of the two, never both."""

    slice_epochs_per_deletion: float | None = None
    """Credited with every deletion request that strikes the model."""
    compute_minutes_per_hour: float | None = None
    """Credited as time goes by, at most an hour's worth in advance."""

    def __post_init__(self) -> None:
        given = [
            value for value in (self.slice_epochs_per_deletion, self.compute_minutes_per_hour) if value is not None
        ]
        if len(given) != 1:
            raise ValueError("a repair budget is either slice_epochs_per_deletion or compute_minutes_per_hour")
        if not 0 < given[0] <= LARGEST:
            raise ValueError(f"a repair budget lies between 0 and {LARGEST:.0f}")

    @property
    def per_deletion(self) -> float:
        """What a deletion credits, in slice-epochs."""
        return self.slice_epochs_per_deletion or 0.0

    @property
    def per_second(self) -> float:
        """What a second credits, in seconds of training."""
        return (self.compute_minutes_per_hour or 0.0) * 60 / SECONDS_AN_HOUR

    @property
    def in_seconds(self) -> bool:
        """Whether the balance is in seconds; in slice-epochs otherwise."""
        return self.compute_minutes_per_hour is not None

    def most(self, whole: int) -> float:
        """Return what may be saved up: an hour's worth of time, or what building the whole lattice costs and a credit.

        Args:
            whole: slice-epochs that a fresh build of all shards costs.
        """
        return self.per_second * SECONDS_AN_HOUR if self.in_seconds else whole + self.per_deletion

    def as_json(self) -> dict[str, float]:
        if self.slice_epochs_per_deletion is not None:
            return {"slice_epochs_per_deletion": self.slice_epochs_per_deletion}
        return {"compute_minutes_per_hour": self.compute_minutes_per_hour or 0.0}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RepairBudget:
        return cls(**value)


@dataclass(frozen=True)
class RepairPolicy:
    """What a model's owner wants."""

    wanted: bool = True
    budget: RepairBudget | None = None
    """None: whatever it takes."""

    def __post_init__(self) -> None:
        if self.budget is not None and not self.wanted:
            raise ValueError("a repair that is switched off takes no budget")

    @property
    def mode(self) -> RepairMode:
        if not self.wanted:
            return RepairMode.OFF
        return RepairMode.FULL if self.budget is None else RepairMode.BUDGET
