"""A policy of unlearning: which methods a model may be changed by, in which order, at what cost. Versioned data with a digest.

    {"schema": "lethe.unlearning-policy/1", "name": "default", "version": 1, "methods": [{"method": "scrub"}], …}

The digest is that of the canonical JSON and stands in every plan and certificate that was made under it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.domain.canonical import canonical
from core.domain.errors import BadInput, Flaw, MethodNotFound, PolicyRefused
from core.domain.task import Modality
from core.methods.menu import find

SCHEMA = "lethe.unlearning-policy/1"
RETRAIN = "retrain"
MOST_METHODS = 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One method and how it is to be run."""

    method: str
    """Whole name."""
    settings: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"method": self.method, "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class UnlearningPolicy:
    """What the router goes by."""

    name: str
    version: int
    methods: tuple[Choice, ...]
    """Ranked: the first that may be tried is tried first."""
    most_cost: float
    """A method that is estimated to cost a larger share of a retrain is not tried."""
    retrain: bool
    """Whether a retrain follows when no method's result was accepted."""
    try_unqualified: bool
    """Whether methods are tried although no judge is qualified, so that none can end passed without a person's word."""
    drift_budget: float
    """How far answers on test rows may move, in mean probability and over all requests since the last retrain."""
    oracles: int
    """How many a qualification trains; fewer than the verification policy asks for make a laxer judge, and are marked."""
    canaries: int
    """Rows that a qualification plants: half of them are learned, half held out."""
    verification: Mapping[str, Any] | None
    """A verification policy; None: the one for the model's kind."""

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "methods": [one.as_json() for one in self.methods],
            "most_cost": self.most_cost,
            "retrain": self.retrain,
            "try_unqualified": self.try_unqualified,
            "drift_budget": self.drift_budget,
            "oracles": self.oracles,
            "canaries": self.canaries,
            "verification": None if self.verification is None else dict(self.verification),
        }

    def digest(self) -> str:
        return hashlib.sha256(b"lethe unlearning policy\x00" + canonical(self.as_json())).hexdigest()


DEFAULT_METHODS: Mapping[Modality, tuple[str, ...]] = {
    Modality.CLASSIFIER: ("scrub", "l1_sparse", "fine_tune"),
    Modality.REGRESSOR: ("gaussian_amnesiac", "label_free_synaptic_dampening"),
    Modality.CAUSAL_LANGUAGE_MODEL: ("salun", "scrub", "simple_negative_preference"),
}
"""By the gaps that docs/methods/index.md measured; what they are worth on a model, its own qualification tells."""


def default_policy(modality: Modality) -> UnlearningPolicy:
    """Return the policy of a model that names none."""
    return UnlearningPolicy(
        name="default",
        version=1,
        methods=tuple(Choice(method=name, settings={}) for name in DEFAULT_METHODS[modality]),
        most_cost=1.0,
        retrain=True,
        try_unqualified=False,
        drift_budget=0.1,
        oracles=19,
        canaries=200,
        verification=None,
    )


def policy_from_json(value: Any, modality: Modality) -> UnlearningPolicy:
    """Read a policy; what it leaves out is as in the default one.

    Raises:
        PolicyRefused: it is no JSON object of this schema, or names what does not exist; each flaw has its pointer.
    """
    if not isinstance(value, Mapping) or value.get("schema", SCHEMA) != SCHEMA:
        raise PolicyRefused(f"a policy is a JSON object with schema {SCHEMA}")
    given = {**default_policy(modality).as_json(), **value}
    flaws = [*_flaws(given)]
    if flaws:
        raise PolicyRefused(flaws=flaws)
    return UnlearningPolicy(
        name=given["name"],
        version=given["version"],
        methods=tuple(choice(one) for one in given["methods"]),
        most_cost=float(given["most_cost"]),
        retrain=given["retrain"],
        try_unqualified=given["try_unqualified"],
        drift_budget=float(given["drift_budget"]),
        oracles=given["oracles"],
        canaries=given["canaries"],
        verification=given["verification"],
    )


def choice(value: Any) -> Choice:
    """Read one method with its settings, which are filled in with the method's own defaults.

    Raises:
        BadInput, MethodNotFound: it is no choice of a method on the menu.
    """
    if (
        not isinstance(value, Mapping)
        or value.keys() - {"method", "settings"}
        or not isinstance(value.get("method"), str)
    ):
        raise BadInput("a choice is an object with a method and perhaps its settings")
    card = find(value["method"])
    return Choice(method=card.name, settings=card.settings_from(value.get("settings") or {}).as_json())


def _flaws(given: Mapping[str, Any]) -> Iterator[Flaw]:
    known = set(default_policy(Modality.CLASSIFIER).as_json())
    if given.keys() - known:
        yield Flaw("", "unknown_field", f"a policy holds {', '.join(sorted(known))} and nothing else")
    if not isinstance(given["name"], str) or not _NAME.fullmatch(given["name"]):
        yield Flaw("/name", "invalid", "is lower-case letters, digits and underscores")
    if type(given["version"]) is not int or given["version"] < 1:
        yield Flaw("/version", "invalid", "is a whole number from 1")
    yield from _number_flaws(given)
    if given["verification"] is not None and not isinstance(given["verification"], Mapping):
        yield Flaw("/verification", "invalid", "is a verification policy or null")
    yield from _method_flaws(given["methods"])


def _number_flaws(given: Mapping[str, Any]) -> Iterator[Flaw]:
    for name, bound in (("most_cost", 100.0), ("drift_budget", 1.0)):
        if not _is_number(given[name]) or not 0 <= given[name] <= bound:
            yield Flaw(f"/{name}", "out_of_bounds", f"must be a number in 0..{bound:g}")
    for name, least, most in (("oracles", 4, 1000), ("canaries", 10, 100_000)):
        if type(given[name]) is not int or not least <= given[name] <= most:
            yield Flaw(f"/{name}", "out_of_bounds", f"must be a whole number in {least}..{most}")
    for name in ("retrain", "try_unqualified"):
        if not isinstance(given[name], bool):
            yield Flaw(f"/{name}", "invalid", "is true or false")


def _method_flaws(methods: Any) -> Iterator[Flaw]:
    if not isinstance(methods, list) or len(methods) > MOST_METHODS:
        yield Flaw("/methods", "invalid", f"is a list of at most {MOST_METHODS} methods")
        return
    for number, one in enumerate(methods):
        try:
            choice(one)
        except MethodNotFound:
            yield Flaw(f"/methods/{number}/method", "method_not_found", "there is no such method")
        except BadInput as wrong:
            yield Flaw(f"/methods/{number}", "invalid", wrong.detail)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
