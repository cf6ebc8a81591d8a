"""A card as plain data, for whoever shows it: the API, the command line."""

from __future__ import annotations

import math
from dataclasses import fields
from enum import StrEnum
from typing import Any

from core.methods.card import Knob, MethodCard, RequestKind, knob_of
from core.methods.measured import RETRAIN_SHARES

PROMISES = {
    RequestKind.DATA_DELETION: "approximate: a model that never saw the rows is aimed at, and the judge has to say how near it is",
    RequestKind.CONCEPT_SUPPRESSION: "approximate: a behaviour is to be gone; the data may still shape the model",
}
FROM_SCRATCH = "retrain"
"""The one method whose result owes nothing to the original."""


class CostClass(StrEnum):
    """By the largest share of a retrain that was measured in any world."""

    LOW = "low"
    """At most a tenth."""
    MEDIUM = "medium"
    """At most half."""
    HIGH = "high"
    """At most a retrain."""
    RETRAIN = "retrain"
    """As much as a retrain, or more."""


BORDERS = ((0.1, CostClass.LOW), (0.5, CostClass.MEDIUM), (1.0, CostClass.HIGH))


def cost_class(name: str) -> CostClass | None:
    """Return the class of a method's measured cost; None for one that was never measured."""
    shares = RETRAIN_SHARES.get(name)
    if not shares:
        return None
    return next((found for border, found in BORDERS if max(shares.values()) <= border), CostClass.RETRAIN)


def described(card: MethodCard) -> dict[str, Any]:
    """Return all that a card says, its settings with their bounds, and what the method was measured to cost."""
    promise = "nothing of the original is left: a model trained without the rows, from a seed of its own"
    return {
        "object": "method",
        "name": card.name,
        "title": card.title,
        "aliases": list(card.aliases),
        "summary": card.summary,
        "kind": card.kind.value,
        "promise": promise if card.name == FROM_SCRATCH else PROMISES[card.kind],
        "modalities": sorted(one.value for one in card.modalities),
        "needs": sorted(one.value for one in card.needs),
        "artefacts": sorted(card.artefacts),
        "optional_artefacts": sorted(card.optional_artefacts),
        "cost": card.cost,
        "cost_class": cost_class(card.name),
        "retrain_share": dict(RETRAIN_SHARES.get(card.name, {})),
        "paper": card.paper,
        "formula": card.formula,
        "known_weakness": card.weakness,
        "settings": [_setting(one.name, one.default, knob_of(one)) for one in fields(card.settings)],
    }


def _setting(name: str, default: Any, knob: Knob) -> dict[str, Any]:
    return {
        "name": name,
        "type": {int: "integer", float: "number", str: "string"}[type(default)],
        "default": default,
        "meaning": knob.sentence,
        "must": knob.bounds(),
        "minimum": _finite(knob.at_least),
        "exclusive_minimum": _finite(knob.above),
        "maximum": _finite(knob.at_most),
        "choices": list(knob.choices),
    }


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
