"""What is asked of the engine: a method, its settings, a seed."""

from __future__ import annotations

from dataclasses import dataclass

from core.methods.card import MethodCard, MethodSettings


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which method, how, and by which seed."""

    card: MethodCard
    settings: MethodSettings
    seed: int = 0
    rows_at_once: int = 256
    """How many rows go through the model together: for memory's sake only."""
