"""The words in which a comparison is told: endings, axes and their faults, for a reader who is tired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENDINGS: Mapping[str, str] = {
    "passed": "passed",
    "failed_under_forgot": "still remembers",
    "failed_over_forgot": "overdone",
    "utility_lost": "lost what it should keep",
    "no_effect": "no effect",
    "underpowered": "cannot be told",
    "not_comparable": "not comparable",
    "staged_undefined": "undefined",
    "diverged": "diverged",
    "forget_set_shrunk": "left rows out",
    "not_reinitialised": "not drawn afresh",
    "method_failed": "came to nothing",
    "method_needs_unmet": "needs what is not there",
}
AXES: Mapping[str, tuple[str, str]] = {
    "effect": ("effect", "did any answer on the forgotten rows change at all?"),
    "forget_accuracy": ("labels", "are the forgotten rows' labels as often known as to oracles?"),
    "forget_confidence": ("sureness", "is it as sure of the forgotten rows' answers as oracles are?"),
    "membership": ("membership", "could an attacker tell that the rows were trained on, or that they were erased?"),
    "agreement": ("same answers", "does it say what oracles say on the forgotten rows?"),
    "representation": ("below the surface", "does a fresh last layer bring the forgotten labels back?"),
    "retain_accuracy": ("kept rows", "is it as right on what stays?"),
    "test_accuracy": ("new rows", "is it as right on rows it never saw?"),
    "retain_confidence": ("kept rows", "is it as sure on what stays?"),
    "test_confidence": ("new rows", "is it as sure on rows it never saw?"),
    "rank": ("rank", "row by row, is it the strangest model among itself and the oracles?"),
}
MARKS: Mapping[str, tuple[str, str]] = {
    "failed_under_forgot": ("\N{BLACK UP-POINTING TRIANGLE}", "remembers"),
    "failed_over_forgot": ("\N{BLACK DOWN-POINTING TRIANGLE}", "overdone"),
    "utility_lost": ("\N{MULTIPLICATION SIGN}", "lost"),
    "no_effect": ("=", "nothing changed"),
    "underpowered": ("?", "undecided"),
    "": ("\N{MIDDLE DOT}", "as oracles"),
}


def title_of(name: str) -> str:
    """Return a method's title as its card has it; other models' names as they are."""
    from core.methods.menu import MENU

    return MENU[name].title if name in MENU else name


def ending_of(one: Mapping[str, Any]) -> str:
    """Return the stable word of what became of a model: the judge's ending, or the engine's refusal."""
    return str(one.get("ending") or one["refused"])


def ranked(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return methods as they are read: passed ones first, the cheapest on top; then by their gap; then what never ended."""

    def place(one: dict[str, Any]) -> tuple[int, float]:
        if "refused" in one:
            return 2, 0.0
        if one["ending"] == "passed":
            return 0, one["cost"]["retrain_share"] or one["cost"]["seconds_share"]
        return 1, one["figures"]["average_gap"]

    return sorted(methods, key=place)
