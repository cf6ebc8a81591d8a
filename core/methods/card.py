"""A card: all that one must know of a method before running it, and the refusal of settings and models that do not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from core.domain.deletion import RequestKind
from core.domain.errors import BadInput, Flaw, MethodNeedsUnmet
from core.domain.task import Modality

__all__ = ["Knob", "MethodCard", "MethodSettings", "Modality", "Need", "RequestKind"]


class Need(StrEnum):
    FORGET = "forget"
    """The rows to forget."""
    RETAIN = "retain"
    """Rows that stay."""
    HOLDOUT = "holdout"
    """Rows of the same distribution that no training ever saw."""
    LABELS = "labels"
    """The rows' targets."""
    REFERENCE = "reference"
    """A frozen copy of the original in memory: one more forward pass per batch."""
    REINITIALISATION = "reinitialisation"
    """Every trained weight can be drawn afresh: by its module's `reset_parameters`, or by a builder."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """What one setting may be."""

    sentence: str
    at_least: float = -math.inf
    at_most: float = math.inf
    above: float = -math.inf
    choices: tuple[str, ...] = ()

    def flaw(self, value: Any, kind: type[Any]) -> str | None:
        """Return what is wrong with a value, as the end of "it must ...", or None."""
        if kind is float and type(value) is int:
            kind = int
        found: type[Any] = type(value)
        if found is not kind:
            return f"be of type {kind.__name__}"
        if kind is str:
            return f"be one of {', '.join(self.choices)}" if self.choices and value not in self.choices else None
        inside = math.isfinite(value) and self.at_least <= value <= self.at_most and value > self.above
        return None if inside else self.bounds()

    def bounds(self) -> str:
        """Return the bounds as words."""
        parts = []
        if self.at_least > -math.inf:
            parts.append(f"be at least {self.at_least:g}")
        if self.above > -math.inf:
            parts.append(f"be above {self.above:g}")
        if self.at_most < math.inf:
            parts.append(f"be at most {self.at_most:.12g}")
        return " and ".join(parts) or (f"be one of {', '.join(self.choices)}" if self.choices else "be of its type")


def knob(default: Any, sentence: str, **bounds: Any) -> Any:
    """Return a dataclass field that carries its sentence and its bounds."""
    return field(default=default, metadata={"knob": Knob(sentence=sentence, **bounds)})


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """Base of every method's settings: frozen, and refuses nonsense at the door."""

    def __post_init__(self) -> None:
        flaws = [
            Flaw(f"/{one.name}", "out_of_bounds", f"{one.name} must {wrong}")
            for one in fields(self)
            if (wrong := knob_of(one).flaw(getattr(self, one.name), type(one.default)))
        ]
        if flaws:
            raise BadInput("; ".join(flaw.detail for flaw in flaws), flaws=flaws)

    def as_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


def knob_of(one: Any) -> Knob:
    """Return the knob of a dataclass field."""
    found = one.metadata["knob"]
    assert isinstance(found, Knob)  # noqa: S101 - every field of a settings class is made by knob()
    return found


def epochs(default: int) -> Any:
    return knob(default, "How often the rows are gone through.", at_least=1, at_most=10_000)


def learning_rate(default: float) -> Any:
    return knob(default, "Step size of AdamW.", above=0, at_most=10)


def batch_size(default: int = 64) -> Any:
    return knob(
        default,
        "Rows per step; how they are split to fit into memory does not change the result.",
        at_least=1,
        at_most=1_000_000,
    )


def share(default: float, sentence: str) -> Any:
    return knob(default, sentence, at_least=0, at_most=1)


def weight(default: float, sentence: str) -> Any:
    return knob(default, sentence, at_least=0, at_most=1e6)


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """One line on the menu."""

    name: str
    title: str
    summary: str
    """One sentence: what it does."""
    paper: str
    """Authors' title and where it stands."""
    formula: str
    """In the symbols of docs/methods/index.md."""
    needs: frozenset[Need]
    modalities: frozenset[Modality]
    settings: type[MethodSettings]
    cost: str
    """In passes over F and R."""
    weakness: str
    aliases: tuple[str, ...] = ()
    kind: RequestKind = RequestKind.DATA_DELETION
    artefacts: frozenset[str] = frozenset()
    """What must have been computed before, by name."""
    optional_artefacts: frozenset[str] = frozenset()
    """What saves work when it is there."""

    def settings_from(self, given: Mapping[str, Any]) -> MethodSettings:
        """Return the settings, defaults where nothing is given.

        Raises:
            BadInput: a name is unknown, or a value is out of its bounds.
        """
        known = {one.name for one in fields(self.settings)}
        flaws = [  # without the name: whatever is typed there could be somebody's, and the answer lists what is known
            Flaw("/(unknown setting)", "unknown_setting", f"{self.name} has no such setting")
            for name in given
            if name not in known
        ]
        if flaws:
            raise BadInput(f"{self.name} takes {', '.join(sorted(known))} and nothing else", flaws=flaws)
        return self.settings(**given)

    def check(self, modality: Modality, *, offered: frozenset[Need], artefacts: frozenset[str]) -> None:
        """Refuse a model that cannot give what the method needs.

        Raises:
            MethodNeedsUnmet: with everything that is missing.
        """
        if modality not in self.modalities:
            known = ", ".join(sorted(self.modalities))
            raise MethodNeedsUnmet(f"{self.name} works on {known}, and this model is a {modality}")
        missing = sorted(self.needs - offered) + sorted(self.artefacts - artefacts)
        if missing:
            raise MethodNeedsUnmet(f"{self.name} needs {', '.join(missing)}, which this model does not offer")
