"""Plans on the wire: what is asked of the planner, and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Shown
from core.domain.model import FamilyChoice, FamilyName, PriorRule, default_family
from core.lattice.planner.question import HitKind, HitModel, PlanQuestion, zipf_weights
from core.lattice.planner.target import Target


class TargetBody(BaseModel):
    """What is expected of a lattice; where it is not met, the answer holds a warning."""

    model_config = ConfigDict(extra="forbid")

    deletions: int = Field(
        examples=[10], description="Deletions before anything is repaired; of a model without repair, in all."
    )
    active_share: float = Field(default=0.5, description="Of all slices, how much is to be served after them, 0 to 1.")
    repair_budget: float | None = Field(
        default=None,
        description="Slice-epochs of repair per deletion. With it, the share is that just after a deletion.",
    )

    def as_target(self) -> Target:
        return Target(**self.model_dump())


class HitsBody(BaseModel):
    """How deletions fall on slices."""

    model_config = ConfigDict(extra="forbid")

    kind: HitKind = HitKind.UNIFORM
    weights: list[float] | None = Field(
        default=None, max_length=64, description="skewed: how likely each slice of a shard is to be hit, relatively."
    )
    skew: float | None = Field(
        default=None, description="skewed, instead of weights: the exponent of Zipf's law; slice 0 is the hottest."
    )
    records_per_owner: int = Field(
        default=1, description="owner: records that a deletion removes, if records were placed one by one."
    )

    def as_hits(self, slices: int) -> HitModel:
        weights = tuple(self.weights) if self.weights is not None else None
        if self.skew is not None:
            if weights is not None:
                raise ValueError("give weights or skew, not both")
            weights = zipf_weights(slices, self.skew)
        return HitModel(kind=self.kind, weights=weights, records_per_owner=self.records_per_owner)


class PlanBody(BaseModel):
    """Ask what a lattice would bear and cost."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"shards": 5, "slices": 4, "family": "cyclic", "hits": {"kind": "uniform"}, "repair_budget": 2.8}
            ]
        },
    )

    shards: int = Field(examples=[5], description="m: independent ensembles that vote.")
    slices: int = Field(examples=[4], description="L: parts of a shard, each switched off on its own.")
    family: FamilyName | None = Field(default=None, description="Absent: what a model without one would get.")
    family_budget: int | None = None
    family_prior: list[float] | None = Field(default=None, max_length=64)
    family_rule: PriorRule | None = None
    family_horizon: int | None = None
    hits: HitsBody = HitsBody()
    deletions: int | None = Field(default=None, description="How far the curve without repair reaches.")
    repair_every: int | None = Field(default=None, description="Repair everything after so many deletions.")
    repair_budget: float | None = Field(default=None, description="Slice-epochs of repair per deletion.")
    layers: int | None = Field(default=None, description="Of the backbone; 24, or as many as slices, unless said.")
    target: TargetBody | None = None

    def as_question(self) -> PlanQuestion:
        return PlanQuestion(
            shards=self.shards,
            family=FamilyChoice(
                name=self.family or default_family(self.slices),
                slices=self.slices,
                budget=self.family_budget,
                prior=None if self.family_prior is None else tuple(self.family_prior),
                rule=self.family_rule,
                horizon=self.family_horizon,
            ),
            hits=self.hits.as_hits(self.slices),
            deletions=self.deletions,
            repair_every=self.repair_every,
            repair_budget=self.repair_budget,
            layers=self.layers or max(24, self.slices),
        )


class ShownPoint(Shown):
    deletions: int
    active_share: float
    worst_shard_share: float
    some_shard_dead: float


class ShownStream(Shown):
    deletions: int
    active_share_after_hit: float
    active_share_after_repair: float
    some_shard_dead_after_hit: float
    some_shard_dead_after_repair: float
    slice_epochs_per_deletion: float


class ShownWindow(Shown):
    every: int
    active_share: float
    worst_shard_share: float
    some_shard_dead: float
    slice_epochs_per_deletion: float
    slice_epochs_per_deletion_as_sequences: float


class ShownPlan(Shown):
    """What a lattice bears and costs. Shares lie between 0 and 1; a slice-epoch is one pass over one slice."""

    object: Literal["plan"]
    shards: int
    slices: int
    family: FamilyName
    family_budget: int | None
    hits: HitKind
    deletions_to_first_dead: float = Field(
        description="Expected deletions until some shard serves nothing, unrepaired."
    )
    deletions_to_all_dead: float = Field(description="Expected deletions until no shard serves anything, unrepaired.")
    slices_hit_per_deletion: float
    nodes_per_shard: int
    nodes: int
    slice_epochs: int = Field(description="Building all shards, equal sets trained once.")
    slice_epochs_as_sequences: int = Field(description="The same with every sequence trained by itself.")
    slice_epochs_per_hit: float = Field(description="Training again what one hit switches off.")
    data_passes: float
    training_against_fine_tuning: float = Field(description="Building, in times of one full fine-tuning.")
    forward_passes: int = Field(description="Nodes that are asked for one answer.")
    depths_after_hits: list[float] = Field(description="Of a shard, after 1, 2, … different slices were hit.")
    curve: list[ShownPoint] = Field(description="Without repair.")
    as_published: ShownStream = Field(description="Everything is built anew once all shards are dead.")
    window: ShownWindow | None
    repair: ShownStream | None
    warnings: list[str] = Field(description="What of the target is not expected to be met.")
