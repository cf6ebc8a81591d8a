"""Models on the wire."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, field_validator, model_validator

from api.schemas.common import CHOICE, Hex
from api.schemas.datasets import Name
from api.schemas.plans import TargetBody
from core.domain.checkpoint import ArchitectureKind, Stage, Training
from core.domain.model import (
    PLACEMENT_KEY_BYTES,
    BackboneRecipe,
    FamilyName,
    NodeRecipe,
    Precision,
    PriorRule,
    Recipe,
    RidgeRecipe,
    default_family,
)
from core.domain.repair import LARGEST, RepairBudget
from core.domain.task import Modality
from core.use_cases.change_model import ModelChange
from core.use_cases.register_checkpoint import CheckpointOrder
from core.use_cases.register_model import ModelOrder

_BACKBONE, _NODE, _RIDGE = BackboneRecipe(), NodeRecipe(), RidgeRecipe()


class BackboneBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = _BACKBONE.width
    layers: int = _BACKBONE.layers
    heads: int = _BACKBONE.heads
    patch: int | None = _BACKBONE.patch
    epochs: int = _BACKBONE.epochs
    batch_size: int = _BACKBONE.batch_size
    learning_rate: float = _BACKBONE.learning_rate
    weight_decay: float = _BACKBONE.weight_decay
    shift: int = _BACKBONE.shift
    # Left out of dumps where they are not said: see `ImageSchemaBody`.
    directory: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Where a ready encoder of texts or images lies, below LETHE_DATA_ROOTS of the API and of the trainer.",
    )
    tokens: int | None = Field(
        default=None, exclude_if=lambda value: value is None, description="How many tokens of a text are read; 128."
    )


class NodeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rank: int = _NODE.rank
    alpha: float = _NODE.alpha
    epochs: int = _NODE.epochs
    batch_size: int = _NODE.batch_size
    learning_rate: float = _NODE.learning_rate
    head_learning_rate: float = _NODE.head_learning_rate
    weight_decay: float = _NODE.weight_decay
    # Left out of dumps where it is not said: see `ImageSchemaBody`.
    precision: Precision = Field(
        default=_NODE.precision,
        exclude_if=lambda value: value is Precision.FLOAT32,
        description="What matrix products are computed in.",
    )


class RidgeBody(BaseModel):
    """A head alone, in closed form, over the frozen backbone; with slices = 1."""

    model_config = ConfigDict(extra="forbid")

    penalty: float = Field(default=_RIDGE.penalty, description="On the weights' squares; the intercept is free.")
    sharpness: float = Field(default=_RIDGE.sharpness, description="On a classification's scores before the softmax.")


class RecipeBody(BaseModel):
    """Everything about training; fixed at registration and part of every node's key."""

    model_config = ConfigDict(extra="forbid")

    shards: int = Field(examples=[3], description="m: independent ensembles that vote.")
    slices: int = Field(examples=[4], description="L: parts of a shard, each switched off on its own.")
    family: FamilyName | None = Field(
        default=None, description="Absent: subset_trie up to 5 slices, greedy_trie up to 10, cyclic above."
    )
    family_budget: int | None = Field(
        default=None, description="cyclic, prior: sequences. greedy_trie: slice-epochs per shard."
    )
    family_prior: list[float] | None = Field(
        default=None,
        max_length=64,
        description="prior, greedy_trie: how likely each slice of a shard is to be hit, relative to the others.",
    )
    family_rule: PriorRule | None = Field(default=None, description="prior: how sequences are chosen.")
    family_horizon: int | None = Field(
        default=None, description="prior under the rule matching: deletions ahead that are scored."
    )
    backbone: BackboneBody = BackboneBody()
    node: NodeBody = NodeBody()
    # Left out of dumps where it is not said: see `ImageSchemaBody`.
    ridge: RidgeBody | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Serve a closed-form ridge head; no node is trained.",
    )

    def as_recipe(self) -> Recipe:
        return Recipe(
            shards=self.shards,
            slices=self.slices,
            family=self.family or default_family(self.slices),
            family_budget=self.family_budget,
            family_prior=None if self.family_prior is None else tuple(self.family_prior),
            family_rule=self.family_rule,
            family_horizon=self.family_horizon,
            backbone=BackboneRecipe(**self.backbone.model_dump()),
            node=NodeRecipe(**self.node.model_dump()),
            ridge=None if self.ridge is None else RidgeRecipe(**self.ridge.model_dump()),
        )


class RepairBudgetBody(BaseModel):
    """One of the two. What is not spent is kept, up to an hour's worth or the cost of the whole lattice."""

    model_config = ConfigDict(extra="forbid")

    slice_epochs_per_deletion: float | None = Field(
        default=None, gt=0, le=LARGEST, description="Credited with every deletion; a node of depth k costs k."
    )
    compute_minutes_per_hour: float | None = Field(
        default=None, gt=0, le=LARGEST, description="Credited as time goes by; all training processes together."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.slice_epochs_per_deletion is None) == (self.compute_minutes_per_hour is None):
            raise ValueError("give slice_epochs_per_deletion or compute_minutes_per_hour")
        return self

    def as_budget(self) -> RepairBudget:
        return RepairBudget(**self.model_dump())


Repair = bool | Literal["off", "full"]
"""`off` and `full` are false, and true without a budget."""


class PolicyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    approval_required: bool = Field(default=False, description="Deletions wait for a second person.")
    repair: Repair = Field(default=True, description="Rebuild what deletions switched off, in the background.")
    repair_budget: RepairBudgetBody | None = Field(default=None, description="Null: whatever it takes.")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        _refuse_contradiction(self.repair, self.repair_budget)
        return self


def _refuse_contradiction(repair: Repair | None, budget: RepairBudgetBody | None) -> None:
    if budget is not None and repair in {False, "off", "full"}:
        raise ValueError("a budget goes with repair: true")


class PolicyChange(BaseModel):
    """What is not said stays as it is."""

    model_config = ConfigDict(extra="forbid")

    repair: Repair | None = None
    repair_budget: RepairBudgetBody | None = Field(default=None, description="Null: whatever it takes.")
    unlearning: dict[str, Any] | None = Field(
        default=None,
        description="Approximate mode: fields of a policy of schema `lethe.unlearning-policy/1`; what it leaves out stays.",
    )

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        _refuse_contradiction(self.repair, self.repair_budget)
        return self


class ModelChangeBody(BaseModel):
    """Change a model's policy: of repairs in exact mode, of unlearning in approximate mode."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"policy": {"repair_budget": {"slice_epochs_per_deletion": 2.8}}},
                {"policy": {"unlearning": {"methods": [{"method": "l1_sparse"}], "drift_budget": 0.05}}},
            ]
        },
    )

    policy: PolicyChange

    def as_change(self) -> ModelChange:
        policy = self.policy
        said_null = "repair_budget" in policy.model_fields_set and policy.repair_budget is None
        return ModelChange(
            repair=None if policy.repair is None else policy.repair not in {False, "off"},
            budget=policy.repair_budget.as_budget() if policy.repair_budget is not None else None,
            unlimited=said_null or policy.repair == "full",
            unlearning=policy.unlearning,
        )


class AdvanceBody(BaseModel):
    """Let a model learn from a later version of its data set."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dataset_version": 2}]})

    dataset_version: int | None = Field(default=None, ge=1, description="Its number; the newest unless said.")


class ArchitectureBody(BaseModel):
    """Which network the tensors belong to; what it reads and says follows from the data set."""

    model_config = ConfigDict(extra="forbid")

    kind: ArchitectureKind
    channels: list[int] = Field(default=[], max_length=64, description="convolutional: of each convolution.")
    hidden: list[int] = Field(default=[], max_length=64, description="Widths of the linear layers but the last.")
    tokens: int | None = Field(default=None, ge=2, le=4096, description="hugging_face: tokens of a text that are read.")


class TrainingBody(BaseModel):
    """How to train the network again from nothing: AdamW, the rate falling as half a cosine."""

    model_config = ConfigDict(extra="forbid")

    epochs: int = Field(examples=[30])
    learning_rate: float = Field(examples=[0.001])
    batch_size: int = 64
    weight_decay: float = 0.0


class StageBody(BaseModel):
    """One stage of how the checkpoint came to be."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", examples=["pretraining"])
    data: Hex = Field(description="SHA-256 of whatever names the stage's data.")


class CheckpointPolicyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    approval_required: bool = Field(default=False, description="Deletions wait for a second person.")
    unlearning: dict[str, Any] | None = Field(
        default=None, description="A policy of schema `lethe.unlearning-policy/1`; what it leaves out is as by default."
    )


class CheckpointBody(BaseModel):
    """Register a model in approximate mode: a checkpoint that was trained elsewhere."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "digits-cnn",
                    "mode": "approximate",
                    "dataset": "digits",
                    "evaluation": "digits-unseen",
                    "directory": "/srv/checkpoints/digits-cnn",
                    "architecture": {"kind": "convolutional", "channels": [16, 16], "hidden": [64]},
                    "training": {"epochs": 30, "learning_rate": 0.001},
                }
            ]
        },
    )

    name: Name
    mode: Literal["approximate"]
    dataset: str = Field(examples=["digits"], description="Id or name of the data set that it was trained on.")
    evaluation: str | None = Field(
        default=None, description="Id or name of a data set whose rows no training saw: for the judge."
    )
    directory: str = Field(description="Where model.safetensors lies, below LETHE_DATA_ROOTS of the API.")
    architecture: ArchitectureBody
    modality: Modality | None = Field(default=None, description="Absent: what the data set's task is.")
    training: TrainingBody | None = Field(default=None, description="Absent: nothing can be retrained or qualified.")
    stages: list[StageBody] = Field(
        default=[], max_length=64, description="More than one: what a retrain is is undefined."
    )
    policy: CheckpointPolicyBody = CheckpointPolicyBody()

    def as_order(self) -> CheckpointOrder:
        shape = self.architecture
        return CheckpointOrder(
            name=self.name,
            dataset=self.dataset,
            evaluation=self.evaluation,
            directory=self.directory,
            kind=shape.kind,
            modality=self.modality,
            channels=tuple(shape.channels),
            hidden=tuple(shape.hidden),
            tokens=shape.tokens,
            training=None if self.training is None else Training(**self.training.model_dump()),
            stages=tuple(Stage(**one.model_dump()) for one in self.stages),
            policy=self.policy.unlearning,
            approval_required=self.policy.approval_required,
        )

    def fingerprint(self) -> bytes:
        """Return what makes two bodies the same request."""
        return self.model_dump_json().encode()


class ModelBody(BaseModel):
    """Register a model in exact mode."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "digits",
                    "dataset": "digits",
                    "recipe": {"shards": 3, "slices": 4, "family": "subset_trie"},
                    "policy": {"approval_required": False, "repair": True},
                }
            ]
        },
    )

    name: Name
    mode: Literal["exact"] = Field(default="exact", exclude=True)
    dataset: str = Field(examples=["digits"], description="Id or name of a data set.")
    dataset_version: int | None = Field(
        default=None, exclude_if=lambda value: value is None, ge=1, description="Which version of it; the newest."
    )
    recipe: RecipeBody
    policy: PolicyBody = PolicyBody()
    target: TargetBody | None = Field(
        default=None, description="What is expected of the lattice. It is checked once, now, and not kept."
    )
    placement_key: SecretStr | None = Field(
        default=None, description="32 bytes in base64; write-only. Without it a fresh key is made."
    )

    @field_validator("placement_key")
    @classmethod
    def _thirty_two_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                decoded = base64.b64decode(value.get_secret_value(), validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("the placement key is not base64") from None
            if len(decoded) != PLACEMENT_KEY_BYTES:
                raise ValueError(f"a placement key has {PLACEMENT_KEY_BYTES} bytes")
        return value

    def as_order(self) -> ModelOrder:
        key = self.placement_key
        return ModelOrder(
            name=self.name,
            dataset=self.dataset,
            dataset_version=self.dataset_version,
            recipe=self.recipe.as_recipe(),
            placement_key=None if key is None else base64.b64decode(key.get_secret_value()),
            approval_required=self.policy.approval_required,
            repair=self.policy.repair not in {False, "off"},
            repair_budget=self.policy.repair_budget.as_budget() if self.policy.repair_budget is not None else None,
            target=None if self.target is None else self.target.as_target(),
        )

    def fingerprint(self) -> bytes:
        """Return what makes two bodies the same request, the key included."""
        key = self.placement_key.get_secret_value() if self.placement_key is not None else ""
        return self.model_dump_json().encode() + b"\x00" + key.encode()


def _mode(value: Any) -> str:
    """Return which of the two bodies is meant: exact unless it says otherwise."""
    mode = value.get("mode", "exact") if isinstance(value, Mapping) else getattr(value, "mode", "exact")
    return CHOICE + ("approximate" if mode == "approximate" else "exact")


AnyModelBody = Annotated[
    Annotated[ModelBody, Tag(f"{CHOICE}exact")] | Annotated[CheckpointBody, Tag(f"{CHOICE}approximate")],
    Discriminator(_mode),
]
