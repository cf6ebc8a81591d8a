"""What is wrong with evidence: it says something untrue, or it says nothing that could be judged."""

from __future__ import annotations

from core.domain.errors import LetheError


class EvidenceInvalid(LetheError):
    """The evidence does not hold."""


class EvidenceUnusable(LetheError):
    """The input is empty, or not of the kind that can be verified."""
