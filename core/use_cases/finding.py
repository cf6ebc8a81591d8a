"""Something that a check found: how bad, which check, about what, and the sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """A promise is broken, or cannot be shown to hold."""
    WARNING = "warning"
    """Untidy and harmless: garbage that a killed process left, or something that the next worker mends."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. `object` is an identifier, never an identity."""

    severity: Severity
    code: str
    object: str
    sentence: str
