"""Equivalence within a margin: a gap counts as none only when its whole interval lies inside the margin.

    ─────────┤ -δ ├──────── 0 ────────┤ δ ├─────────
      BELOW           INSIDE             ABOVE            UNDECIDED: the interval crosses a border

An interval of confidence 1 - 2 alpha inside ±δ is the two one-sided tests procedure at level alpha (Schuirmann 1987). "Not
significantly different" is not a pass here: too few examples give UNDECIDED. A gap outside is shown in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.verification.intervals import Interval


class Outcome(StrEnum):
    INSIDE = "inside"
    ABOVE = "above"
    BELOW = "below"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Margin:
    """What difference does not matter. A side that is None has no border."""

    low: float | None
    high: float | None

    @classmethod
    def both(cls, width: float) -> Margin:
        return cls(-width, width)

    @classmethod
    def not_below(cls, width: float) -> Margin:
        """No worse by more than `width`; better is no fault."""
        return cls(-width, None)

    def place(self, interval: Interval) -> Outcome:
        """Say where an interval lies."""
        if self.low is not None and interval.high < self.low:
            return Outcome.BELOW
        if self.high is not None and interval.low > self.high:
            return Outcome.ABOVE
        holds_low = self.low is None or interval.low >= self.low
        holds_high = self.high is None or interval.high <= self.high
        return Outcome.INSIDE if holds_low and holds_high else Outcome.UNDECIDED
