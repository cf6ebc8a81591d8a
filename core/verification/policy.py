"""A policy: which questions must be answered, within which margins, at which level. Versioned data with a digest.

    {"schema": "lethe.verification-policy/1", "name": "classifier", "version": 1, "significance": 0.05, …}

The digest is that of the canonical JSON (RFC 8785) and stands in every judgement, so nobody can widen a margin
afterwards. Bounds keep a policy from being one that nothing fails: no margin is wider than a quarter of its scale.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical
from core.domain.errors import Flaw, PolicyRefused

SCHEMA = "lethe.verification-policy/1"
WIDEST_MARGIN = 0.25
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Axis(StrEnum):
    """One question to a model whose answer is placed against a margin."""

    EFFECT = "effect"
    FORGET_ACCURACY = "forget_accuracy"
    FORGET_CONFIDENCE = "forget_confidence"
    MEMBERSHIP = "membership"
    AGREEMENT = "agreement"
    REPRESENTATION = "representation"
    RANK = "rank"
    RETAIN_ACCURACY = "retain_accuracy"
    TEST_ACCURACY = "test_accuracy"
    RETAIN_CONFIDENCE = "retain_confidence"
    TEST_CONFIDENCE = "test_confidence"
    DISTRIBUTION = "distribution"
    """KLoM of many models: reported with a judgement of the third tier, and no margin of a policy."""
    COMPARABILITY = "comparability"


ORACLE_AXES = frozenset(
    {
        Axis.FORGET_ACCURACY,
        Axis.FORGET_CONFIDENCE,
        Axis.MEMBERSHIP,
        Axis.AGREEMENT,
        Axis.REPRESENTATION,
        Axis.RETAIN_ACCURACY,
        Axis.TEST_ACCURACY,
        Axis.RETAIN_CONFIDENCE,
        Axis.TEST_CONFIDENCE,
    }
)
REQUEST_AXES = frozenset(
    {
        Axis.COMPARABILITY,
        Axis.FORGET_CONFIDENCE,
        Axis.MEMBERSHIP,
        Axis.REPRESENTATION,
        Axis.RETAIN_ACCURACY,
        Axis.TEST_ACCURACY,
        Axis.RETAIN_CONFIDENCE,
        Axis.TEST_CONFIDENCE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a judge goes by. `policy_from_json` is the only way in from outside."""

    name: str
    version: int
    significance: float
    """Level alpha of each one-sided test; intervals have confidence 1 - 2 alpha."""
    minimum_oracles: int
    """Fewer oracles end UNDERPOWERED. The rank test needs significance >= 1 / (minimum_oracles + 1)."""
    held_out_pass_rate: float
    """Which share of held-out oracles must pass before the judge is qualified."""
    smallest_effect: float
    """When no probability on the forget set moved by more than this, nothing happened."""
    seed: int
    """Of every resampling."""
    oracle_margins: Mapping[Axis, float]
    """T2: each named question must be answered, and its gap to the oracles lie inside."""
    request_margins: Mapping[Axis, float]
    """T1: the same against held-out examples and the original."""

    @property
    def confidence(self) -> float:
        return 1 - 2 * self.significance

    def as_json(self) -> dict[str, Any]:
        value = {field.name: getattr(self, field.name) for field in fields(self)}
        margins = {name: {axis.value: width for axis, width in value[name].items()} for name in _MARGINS}
        return {"schema": SCHEMA, **value, **margins}

    def digest(self) -> str:
        """Return 64 hex digits that no other policy has."""
        return hashlib.sha256(b"lethe verification policy\x00" + canonical(self.as_json())).hexdigest()


_MARGINS = {"oracle_margins": ORACLE_AXES, "request_margins": REQUEST_AXES}
_REQUIRED = {"oracle_margins": Axis.FORGET_CONFIDENCE, "request_margins": Axis.FORGET_CONFIDENCE}
_BOUNDS: Mapping[str, tuple[type, float, float]] = {
    "version": (int, 1, 2**31),
    "significance": (float, 0.001, 0.2),
    "minimum_oracles": (int, 4, 10_000),
    "held_out_pass_rate": (float, 0.5, 1.0),
    "smallest_effect": (float, 1e-9, 0.1),
    "seed": (int, 0, 2**31),
}


def policy_from_json(content: bytes | str) -> Policy:
    """Read a policy.

    Raises:
        PolicyRefused: it is no JSON object of this schema, or a value is out of bounds; each flaw has its pointer.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise PolicyRefused("the policy is no JSON") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise PolicyRefused(f"a policy is a JSON object with schema {SCHEMA}")
    flaws = [*_shape_flaws(value)] or [*_value_flaws(value)]
    if flaws:
        raise PolicyRefused(flaws=flaws)
    margins: dict[str, Any] = {
        name: {Axis(axis): float(width) for axis, width in value[name].items()} for name in _MARGINS
    }
    numbers: dict[str, Any] = {name: kind(value[name]) for name, (kind, _, _) in _BOUNDS.items()}
    return Policy(name=value["name"], **numbers, **margins)


def _shape_flaws(value: dict[str, Any]) -> Iterator[Flaw]:
    known = {field.name for field in fields(Policy)} | {"schema"}
    for name in sorted(known - value.keys()):
        yield Flaw(f"/{name}", "missing", "is required")
    if value.keys() - known:
        yield Flaw("", "unknown_field", "holds fields that this schema does not know")


def _value_flaws(value: dict[str, Any]) -> Iterator[Flaw]:
    if not isinstance(value["name"], str) or not _NAME.fullmatch(value["name"]):
        yield Flaw("/name", "invalid", "is lower-case letters, digits and underscores")
    outside = [
        Flaw(f"/{name}", "out_of_bounds", f"must be a number in {low}..{high}")
        for name, (kind, low, high) in _BOUNDS.items()
        if not _is_number(value[name], kind) or not low <= value[name] <= high
    ]
    yield from outside
    if not outside and value["significance"] * (value["minimum_oracles"] + 1) < 1 - 1e-9:
        yield Flaw("/significance", "out_of_reach", "must be at least 1 / (minimum_oracles + 1): ranks get no smaller")
    for name, axes in _MARGINS.items():
        yield from _margin_flaws(name, value[name], axes)


def _margin_flaws(name: str, margins: Any, axes: frozenset[Axis]) -> Iterator[Flaw]:
    if not isinstance(margins, dict) or _REQUIRED[name] not in margins:
        yield Flaw(f"/{name}", "invalid", f"is an object that names at least {_REQUIRED[name].value}")
        return
    if margins.keys() - axes:
        yield Flaw(f"/{name}", "unknown_axis", f"may name {', '.join(sorted(axes))}")
    for axis in sorted(margins.keys() & axes):
        if not _is_number(margins[axis], float) or not 0 < margins[axis] <= WIDEST_MARGIN:
            yield Flaw(f"/{name}/{axis}", "out_of_bounds", f"must be above 0 and at most {WIDEST_MARGIN}")


def _is_number(value: Any, kind: type) -> bool:
    numeric = isinstance(value, int) if kind is int else isinstance(value, int | float)
    return numeric and not isinstance(value, bool) and math.isfinite(value)


CLASSIFIER = Policy(
    name="classifier",
    version=1,
    significance=0.05,
    minimum_oracles=19,
    held_out_pass_rate=0.9,
    smallest_effect=1e-3,
    seed=0,
    oracle_margins={
        Axis.FORGET_ACCURACY: 0.1,
        Axis.FORGET_CONFIDENCE: 0.1,
        Axis.MEMBERSHIP: 0.1,
        Axis.AGREEMENT: 0.1,
        Axis.REPRESENTATION: 0.15,
        Axis.RETAIN_ACCURACY: 0.05,
        Axis.TEST_ACCURACY: 0.05,
    },
    request_margins={
        Axis.COMPARABILITY: 0.1,
        Axis.FORGET_CONFIDENCE: 0.1,
        Axis.MEMBERSHIP: 0.15,
        Axis.REPRESENTATION: 0.2,
        Axis.RETAIN_ACCURACY: 0.05,
        Axis.TEST_ACCURACY: 0.05,
    },
)
"""The policy for classifiers unless another is given. Its numbers are choices, and stand in every judgement."""

REGRESSOR = replace(
    CLASSIFIER,
    name="regressor",
    oracle_margins={
        Axis.FORGET_CONFIDENCE: 0.1,
        Axis.MEMBERSHIP: 0.1,
        Axis.AGREEMENT: 0.15,
        Axis.RETAIN_CONFIDENCE: 0.05,
        Axis.TEST_CONFIDENCE: 0.05,
    },
    request_margins={
        Axis.COMPARABILITY: 0.1,
        Axis.FORGET_CONFIDENCE: 0.1,
        Axis.MEMBERSHIP: 0.15,
        Axis.RETAIN_CONFIDENCE: 0.05,
        Axis.TEST_CONFIDENCE: 0.05,
    },
)
"""For regressors: no classes, so confidence in the given value takes the place of accuracy. Blind to a head-only edit."""

CAUSAL_LANGUAGE_MODEL = replace(
    REGRESSOR,
    name="causal_language_model",
    oracle_margins={axis: width for axis, width in REGRESSOR.oracle_margins.items() if axis is not Axis.AGREEMENT},
)
"""For causal language models: confidence is the geometric mean of the answer's token probabilities. Blind to a head-only
edit, and to what a model says instead of the forgotten answer."""

POLICIES: Mapping[str, Policy] = {one.name: one for one in (CLASSIFIER, REGRESSOR, CAUSAL_LANGUAGE_MODEL)}
"""By the modality that they are for."""
