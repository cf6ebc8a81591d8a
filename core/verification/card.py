"""The card of a verifier: what it asks, what it needs, and how it is known to be fooled.

A verifier is one file in `verifiers/` with a CARD and a function, and one line in `catalogue`. A card without a known
weakness is refused: there is no verifier without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """How strong the evidence is that a verifier can use."""

    T0 = "T0"
    """Integrity: arrays only."""
    T1 = "T1"
    """No oracle: held-out examples and the original."""
    T2 = "T2"
    """K oracles."""
    T3 = "T3"
    """Many oracles and many unlearned models."""


class Need(StrEnum):
    """What must be handed in."""

    WEIGHTS = "weights"
    LOGITS = "logits"
    LOSSES = "losses"
    FEATURES = "features"
    HOLDOUT = "holdout"
    ORIGINAL = "original"
    ORACLES = "oracles"
    UNLEARNED_MODELS = "unlearned_models"


@dataclass(frozen=True, kw_only=True)
class Card:
    name: str
    asks: str
    needs: tuple[Need, ...]
    formula: str
    paper: str
    weakness: str
    tier: Tier

    def __post_init__(self) -> None:
        blank = [word for word in ("name", "asks", "formula", "paper", "weakness") if not getattr(self, word).strip()]
        if blank or not self.needs:
            raise ValueError(f"the card {self.name!r} leaves out {', '.join(blank) or 'its needs'}")
