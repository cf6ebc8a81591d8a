"""What a judge may say: one of eight endings, with every finding it rests on. There is no ending called "forgotten".

    STAGED_UNDEFINED ─▶ NOT_COMPARABLE ─▶ NO_EFFECT ─▶ FAILED_UNDER_FORGOT ─▶ UTILITY_LOST ─▶ FAILED_OVER_FORGOT
                                                                              ─▶ UNDERPOWERED ─▶ PASSED

The first that applies is said, so a pass is what remains when nothing else does. Findings are kept whole: a model that
remembers and is also wrecked shows both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical
from core.verification.card import Tier
from core.verification.equivalence import Margin, Outcome
from core.verification.intervals import Interval
from core.verification.policy import Axis


class Ending(StrEnum):
    PASSED = "passed"
    FAILED_UNDER_FORGOT = "failed_under_forgot"
    FAILED_OVER_FORGOT = "failed_over_forgot"
    NO_EFFECT = "no_effect"
    UTILITY_LOST = "utility_lost"
    UNDERPOWERED = "underpowered"
    NOT_COMPARABLE = "not_comparable"
    STAGED_UNDEFINED = "staged_undefined"


SENTENCES: Mapping[Ending, str] = {
    Ending.PASSED: "Within the stated margins the answers are those of a model that never saw the records.",
    Ending.FAILED_UNDER_FORGOT: "The model still answers as one that saw the records.",
    Ending.FAILED_OVER_FORGOT: "The records stand out: the model answers on them as no model would that never saw them.",
    Ending.NO_EFFECT: "The method changed nothing that could be measured on the records.",
    Ending.UTILITY_LOST: "The model answers worse than the margin allows on what it was to keep.",
    Ending.UNDERPOWERED: "The evidence is not enough to tell a model that forgot from one that did not.",
    Ending.NOT_COMPARABLE: "The answers that were compared are not of the same kind, or some are missing.",
    Ending.STAGED_UNDEFINED: "The model was trained in stages, so what a retrained model would be is not defined.",
}


@dataclass(frozen=True)
class Finding:
    """One question's answer."""

    axis: Axis
    outcome: Outcome
    accuses: Ending | None
    """The ending that this finding asks for, if any."""
    interval: Interval | None = None
    margin: Margin | None = None
    value: float | None = None
    """A p-value or a largest change, where there is no interval."""

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"axis": self.axis, "outcome": self.outcome, "accuses": self.accuses}
        if self.interval is not None:
            value["interval"] = {name: round(number, 12) for name, number in self.interval.as_json().items()}
        if self.margin is not None:
            value["margin"] = {"low": self.margin.low, "high": self.margin.high}
        if self.value is not None:
            value["value"] = round(self.value, 12)
        return value


@dataclass(frozen=True)
class Judgement:
    """What was decided about one model, by which policy, on what evidence."""

    ending: Ending
    tier: Tier
    policy_digest: str
    oracles: int
    findings: tuple[Finding, ...]
    reason: str = ""
    """Why evidence was missing or not enough, when no finding says it."""

    @property
    def passed(self) -> bool:
        return self.ending is Ending.PASSED

    @property
    def sentence(self) -> str:
        return SENTENCES[self.ending]

    def finding(self, axis: Axis) -> Finding:
        """Return the finding on an axis; raise KeyError when it was not asked."""
        return {finding.axis: finding for finding in self.findings}[axis]

    def as_json(self) -> dict[str, Any]:
        return {
            "ending": self.ending,
            "sentence": self.sentence,
            "tier": self.tier,
            "policy_digest": self.policy_digest,
            "oracles": self.oracles,
            "findings": [finding.as_json() for finding in self.findings],
            "reason": self.reason,
        }

    def digest(self) -> str:
        return hashlib.sha256(b"lethe judgement\x00" + canonical(self.as_json())).hexdigest()


_PRECEDENCE: Sequence[Ending] = (
    Ending.STAGED_UNDEFINED,
    Ending.NOT_COMPARABLE,
    Ending.NO_EFFECT,
    Ending.FAILED_UNDER_FORGOT,
    Ending.UTILITY_LOST,
    Ending.FAILED_OVER_FORGOT,
    Ending.UNDERPOWERED,
)


def worst(endings: Iterable[Ending | None]) -> Ending:
    """Return the first ending of the order above, and PASSED when there is none."""
    asked_for = set(endings)
    return next((ending for ending in _PRECEDENCE if ending in asked_for), Ending.PASSED)


def placed(axis: Axis, interval: Interval, margin: Margin, *, above: Ending, below: Ending) -> Finding:
    """Place an interval against its margin, and say what that accuses the model of."""
    outcome = margin.place(interval)
    accuses = {Outcome.ABOVE: above, Outcome.BELOW: below, Outcome.UNDECIDED: Ending.UNDERPOWERED}.get(outcome)
    return Finding(axis, outcome, accuses, interval, margin)
