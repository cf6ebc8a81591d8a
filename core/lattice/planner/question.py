"""What is asked of the planner: the lattice, how deletions fall on it, and how it is repaired."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from core.domain.model import FamilyChoice, FamilyName, check_weights
from core.lattice.families import Family, choose_family

MOST_SHARDS = 1024
MOST_DELETIONS = 100_000
MOST_HITS = 200_000
"""Hits that one trace may have: a plan should take seconds."""


class HitKind(StrEnum):
    """How deletions fall on slices."""

    UNIFORM = "uniform"
    """One slice each, any as likely as another: what placement by owner gives."""
    SKEWED = "skewed"
    """One slice each, some likelier than others, in the same way in every shard."""
    OWNER = "owner"
    """One owner each, whose records lie anywhere: what placement by record would make of it."""


def _refuse_unless(holds: bool, sentence: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(sentence)


@dataclass(frozen=True, kw_only=True)
class HitModel:
    """How deletions fall on slices."""

    kind: HitKind = HitKind.UNIFORM
    weights: tuple[float, ...] | None = None
    """skewed only: how likely each slice of a shard is to be hit, relative to the others."""
    records_per_owner: int = 1
    """owner only: how many records a deletion removes, each from a slice of its own choosing."""

    def __post_init__(self) -> None:
        _refuse_unless(
            (self.weights is not None) == (self.kind is HitKind.SKEWED),
            "weights belong to skewed hits, and they need some",
        )
        _refuse_unless(
            self.records_per_owner == 1 or self.kind is HitKind.OWNER, "only owner hits take records_per_owner"
        )
        _refuse_unless(1 <= self.records_per_owner <= 1000, "records_per_owner must lie in 1..1000")  # noqa: PLR2004

    def chances(self, slices: int) -> tuple[float, ...]:
        """Return how likely each slice of a shard is to be hit, given that the shard is."""
        weights = self.weights or (1.0,) * slices
        return tuple(weight / sum(weights) for weight in weights)


def zipf_weights(slices: int, exponent: float) -> tuple[float, ...]:
    """Return weights 1, 2^-s, 3^-s, …: slice 0 is the hottest.

    Raises:
        ValueError: the exponent does not lie in 0..5.
    """
    _refuse_unless(0 <= exponent <= 5, "skew must lie in 0..5")  # noqa: PLR2004
    return tuple(float((number + 1) ** -exponent) for number in range(slices))


@dataclass(frozen=True, kw_only=True)
class PlanQuestion:
    """A lattice, what will happen to it, and what is done about that."""

    shards: int
    family: FamilyChoice
    hits: HitModel = field(default_factory=HitModel)
    deletions: int | None = None
    """How far the curve without repair reaches; None: three for every slice."""
    repair_every: int | None = None
    """Repair everything after so many deletions."""
    repair_budget: float | None = None
    """Slice-epochs that repair may spend per deletion, worst shard first."""
    layers: int = 24
    """Of the backbone: what a stage costs depends on how few of them it trains."""

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.shards <= MOST_SHARDS, f"shards must lie in 1..{MOST_SHARDS}")
        if self.hits.weights is not None:
            check_weights(self.hits.weights, self.slices, "weights")
        for name in ("deletions", "repair_every"):
            value = getattr(self, name)
            _refuse_unless(value is None or 1 <= value <= MOST_DELETIONS, f"{name} must lie in 1..{MOST_DELETIONS}")
            hits = (value or 0) * self.hits.records_per_owner
            _refuse_unless(hits <= MOST_HITS, f"{name} times records_per_owner must not exceed {MOST_HITS}")
        _refuse_unless(
            self.repair_budget is None or 0 < self.repair_budget <= 1e6,  # noqa: PLR2004
            "repair_budget must lie between 0 and 1000000",
        )
        _refuse_unless(self.slices <= self.layers <= 1000, f"layers must lie in {self.slices}..1000")  # noqa: PLR2004

    @property
    def slices(self) -> int:
        return self.family.slices

    @property
    def places(self) -> int:
        """How many slices the lattice has in all, m·L."""
        return self.shards * self.slices

    @property
    def horizon(self) -> int:
        """How many deletions the curve shows."""
        wanted = self.deletions or max(1, math.ceil(3 * self.places / self.hits.records_per_owner))
        return min(wanted, MOST_DELETIONS)

    @cached_property
    def sets(self) -> Family:
        return choose_family(self.family)

    @property
    def name(self) -> str:
        """The family as a picture names it."""
        budget = self.family.budget
        return self.family.name if budget is None else f"{self.family.name}, budget {budget}"

    def with_other_families(self) -> list[PlanQuestion]:
        """Return this question first, then the same about every other family that can be built at its slices."""
        choices = [self.family]
        for name in FamilyName:
            try:
                choice = FamilyChoice(name=name, slices=self.slices, prior=self._prior_for(name))
            except ValueError:
                continue  # a trie of too many slices
            if choice.name is not self.family.name:
                choices.append(choice)
        return [replace(self, family=choice) for choice in choices]

    def _prior_for(self, name: FamilyName) -> tuple[float, ...] | None:
        return self.hits.weights if name in {FamilyName.PRIOR, FamilyName.GREEDY_TRIE} else None

    @property
    def sequences(self) -> int:
        """B: how many sequences the family was made of, 0 for a trie."""
        if self.family.name is FamilyName.CHAIN:
            return 1
        if self.family.name in {FamilyName.SUBSET_TRIE, FamilyName.GREEDY_TRIE}:
            return 0
        return self.family.budget or self.slices
