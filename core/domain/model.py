"""A model as its owner registers it: the lattice's size, the backbone and the recipe every node is trained by.

A recipe is fixed before any private row is read and never tuned on rows that may be deleted; its digest is part of
every node's key, so changing one number changes every key.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical

TRAINER_PROTOCOL = 1
"""Raise by hand whenever training arithmetic changes; a golden digest in the tests guards it."""

MINIMUM_OWNERS_PER_SLICE = 3
PLACEMENT_KEY_BYTES = 32


class FamilyName(StrEnum):
    """Which sets of slices get a node; see `core/lattice/families`."""

    CHAIN = "chain"
    CYCLIC = "cyclic"
    PRIOR = "prior"
    SUBSET_TRIE = "subset_trie"
    GREEDY_TRIE = "greedy_trie"


class PriorRule(StrEnum):
    """How the family `prior` orders its sequences by how likely each slice is to be hit."""

    MATCHING = "matching"
    """No slice twice at one position, and the sequences that are likeliest to last (arXiv:2406.16257)."""
    COLD_FIRST = "cold_first"
    """Likely slices late: every sequence is cold-first, and sequence j moves the j-th hottest slice to its end."""


class Precision(StrEnum):
    """What matrix products of a node's training are computed in; weights, gradients and the optimiser are float32 either way."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class ModelState(StrEnum):
    """`registered` until the first version is live; `live` from then on; `failed` when it could never be built."""

    REGISTERED = "registered"
    LIVE = "live"
    FAILED = "failed"


class Guarantee(StrEnum):
    """What a version promises about everybody deleted before it (DESIGN §2). The first two are of lattices, with proof."""

    INFLUENCE_FREE = "influence_free"
    RETRAIN_EQUIVALENT = "retrain_equivalent"
    AS_REGISTERED = "as_registered"
    """A checkpoint that nobody was deleted from yet: it promises nothing."""
    JUDGED = "judged"
    """A method's result that the judge passed, within the margins of a policy; no proof that anything is forgotten."""
    RETRAINED = "retrained"
    """Trained afresh on the records that stayed; not bit for bit what another training would give."""
    WAIVED = "waived"
    """A method's result that the judge did not pass, and for which a named person answers."""


APPROXIMATE = (Guarantee.AS_REGISTERED, Guarantee.JUDGED, Guarantee.RETRAINED, Guarantee.WAIVED)
"""What a version of a checkpoint can promise."""


def _refuse_unless(holds: bool, sentence: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(sentence)


MOST_SET_BITS = 10
"""Slices above which a set-trie is refused: its 2^slices sets, and the patterns of hits, are looked at one by one."""
MOST_SEQUENCE_SETS = 4096
"""Sets that the sequences of a cyclic family may pass through, before equal ones are merged."""


def default_family(slices: int) -> FamilyName:
    """Return the family of a model that names none: what survives most for what it costs at that many slices."""
    if slices <= 5:
        return FamilyName.SUBSET_TRIE
    return FamilyName.GREEDY_TRIE if slices <= MOST_SET_BITS else FamilyName.CYCLIC


@dataclass(frozen=True, kw_only=True)
class FamilyChoice:
    """A family and its parameters: all that its sets follow from."""

    name: FamilyName
    slices: int
    budget: int | None = None
    """cyclic and prior: how many sequences, all of them (`slices`) unless said. greedy_trie: how many slice-epochs per
    shard, unless said as many as that many rotations cost."""
    prior: tuple[float, ...] | None = None
    """prior and greedy_trie: how likely each slice of a shard is to be hit next, relative to the others; None: equally."""
    rule: PriorRule | None = None
    """prior only; None: `cold_first` where all sequences are kept, else `matching`."""
    horizon: int | None = None
    """prior with `matching`: how many deletions ahead a sequence is scored; None: 10."""

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.slices <= 64, "slices must lie in 1..64")
        tries = (FamilyName.SUBSET_TRIE, FamilyName.GREEDY_TRIE)
        _refuse_unless(
            self.name not in tries or self.slices <= MOST_SET_BITS,
            f"a {self.name.replace('_', ' ')} looks at all 2^slices sets; use at most {MOST_SET_BITS} slices",
        )
        self._check_budget()
        self._check_prior()

    def _check_budget(self) -> None:
        if self.budget is None:
            return
        _refuse_unless(
            self.name not in {FamilyName.CHAIN, FamilyName.SUBSET_TRIE},
            "only cyclic, prior and greedy_trie take a budget (family_budget)",
        )
        least, most = self._budget_range()
        _refuse_unless(
            least <= self.budget <= most,
            f"family_budget of {self.name} must lie in {least}..{most} at {self.slices} slices",
        )

    def _budget_range(self) -> tuple[int, int]:
        if self.name is FamilyName.GREEDY_TRIE:
            return self.slices * (self.slices + 1) // 2, self.slices * 2 ** (self.slices - 1)
        if self.name is FamilyName.CYCLIC:
            return 1, min(math.factorial(self.slices), MOST_SEQUENCE_SETS // self.slices)
        return 1, self.slices

    def _check_prior(self) -> None:
        if self.prior is not None:
            _refuse_unless(
                self.name in {FamilyName.PRIOR, FamilyName.GREEDY_TRIE},
                "only prior and greedy_trie take a prior (family_prior)",
            )
            check_weights(self.prior, self.slices, "family_prior")
        _refuse_unless(
            self.rule is None or self.name is FamilyName.PRIOR, "only the family prior takes a rule (family_rule)"
        )
        if self.horizon is not None:
            _refuse_unless(
                self.name is FamilyName.PRIOR and self.chosen_rule is PriorRule.MATCHING,
                "only the family prior under the rule matching takes a horizon (family_horizon)",
            )
            _refuse_unless(1 <= self.horizon <= 1000, "family_horizon must lie in 1..1000")

    @property
    def chosen_rule(self) -> PriorRule:
        """The rule that holds, said or not."""
        if self.rule is not None:
            return self.rule
        return PriorRule.MATCHING if (self.budget or self.slices) < self.slices else PriorRule.COLD_FIRST


def check_weights(weights: tuple[float, ...], slices: int, name: str) -> None:
    """Refuse weights that give no chance to each slice.

    Raises:
        ValueError: there is not one for each slice, or one is not a positive number.
    """
    _refuse_unless(len(weights) == slices, f"{name} has {len(weights)} numbers, and a shard has {slices} slices")
    _refuse_unless(
        all(math.isfinite(weight) and weight > 0 for weight in weights), f"{name} must hold positive numbers only"
    )


@dataclass(frozen=True, kw_only=True)
class BackboneRecipe:
    """The shape of the built-in vision transformer and how it is pre-trained on the public rows."""

    width: int = 64
    """Channels of the residual stream; a multiple of `heads`."""
    layers: int = 4
    heads: int = 4
    patch: int | None = None
    """Pixels along a patch's edge; None: the smallest that divides both edges and gives at most 64 patches;
    single pixels only where nothing else fits."""
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    shift: int = 1
    """Pixels by which public images are shifted at random while pre-training."""
    directory: str | None = None
    """Where an encoder of texts or images lies as Hugging Face writes them; its sizes replace width, layers and heads."""
    directory_digest: str | None = None
    """Hex digest of its files, found at registration."""
    tokens: int | None = None
    """How many tokens of a text are read; None: 128."""

    def __post_init__(self) -> None:
        _refuse_unless(0 < self.heads <= 64 and self.width % self.heads == 0, "width must be a multiple of heads")
        _refuse_unless(8 <= self.width <= 4096, "width must lie in 8..4096")
        _refuse_unless(1 <= self.layers <= 64, "layers must lie in 1..64")
        _refuse_unless(self.patch is None or 1 <= self.patch <= 256, "patch must lie in 1..256")
        _refuse_unless(1 <= self.epochs <= 1000, "epochs must lie in 1..1000")
        _refuse_unless(1 <= self.batch_size <= 4096, "batch_size must lie in 1..4096")
        _refuse_unless(0 < self.learning_rate < 1, "learning_rate must lie between 0 and 1")
        _refuse_unless(0 <= self.weight_decay < 1, "weight_decay must lie in 0..1")
        _refuse_unless(0 <= self.shift <= 16, "shift must lie in 0..16")
        _refuse_unless(self.tokens is None or 2 <= self.tokens <= 512, "tokens must lie in 2..512")

    def as_json(self) -> dict[str, Any]:
        """Return it without what only texts have, where that is not said: keys of the time before texts must hold."""
        later = ("directory", "directory_digest", "tokens")
        return {name: value for name, value in asdict(self).items() if name not in later or value is not None}

    def key_inputs(self) -> dict[str, Any]:
        """Return all that decides its tensors; where the directory lies does not."""
        return {name: value for name, value in self.as_json().items() if name != "directory"}


@dataclass(frozen=True, kw_only=True)
class NodeRecipe:
    """How every node of the lattice is trained: low-rank factors on one layer group, and a head (arXiv:2406.16257)."""

    rank: int = 8
    alpha: float = 16.0
    """Low-rank updates are scaled by alpha / sqrt(rank) (rank-stabilised, arXiv:2312.03732)."""
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 4e-3
    head_learning_rate: float = 4e-3
    weight_decay: float = 0.0
    precision: Precision = Precision.FLOAT32
    """bfloat16 is faster where the processor has it, and needs another recipe, as it gives other nodes."""

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.rank <= 256, "rank must lie in 1..256")
        _refuse_unless(self.alpha > 0, "alpha must be > 0")
        _refuse_unless(1 <= self.epochs <= 1000, "epochs must lie in 1..1000")
        _refuse_unless(1 <= self.batch_size <= 4096, "batch_size must lie in 1..4096")
        _refuse_unless(0 < self.learning_rate < 1, "learning_rate must lie between 0 and 1")
        _refuse_unless(0 < self.head_learning_rate < 1, "head_learning_rate must lie between 0 and 1")
        _refuse_unless(0 <= self.weight_decay < 1, "weight_decay must lie in 0..1")

    def as_json(self) -> dict[str, Any]:
        """Return it without what was added later, where that is not said: keys of the time before must hold."""
        whole = asdict(self)
        if self.precision is Precision.FLOAT32:
            del whole["precision"]
        return whole

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> NodeRecipe:
        return cls(**{**value, "precision": Precision(value.get("precision", Precision.FLOAT32))})


RIDGE_PROTOCOL = 1
"""Raise by hand whenever the arithmetic of ridge heads changes; a golden digest in the tests guards it."""


@dataclass(frozen=True, kw_only=True)
class RidgeRecipe:
    """A head alone, in closed form, over the frozen backbone: every single record can be taken out of it exactly."""

    penalty: float = 1.0
    """What a weight's square costs, beside the records' squared errors; the intercept is free."""
    sharpness: float = 8.0
    """Factor on the scores of a classification before the softmax; it moves chances, never which label is first."""

    def __post_init__(self) -> None:
        _refuse_unless(1e-6 <= self.penalty <= 1e9, "ridge penalty must lie in 1e-6..1e9")
        _refuse_unless(0 < self.sharpness <= 1000, "ridge sharpness must lie in 0..1000")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is fixed at registration."""

    shards: int
    slices: int
    family: FamilyName = FamilyName.SUBSET_TRIE
    family_budget: int | None = None
    """See `FamilyChoice`, as the next three."""
    family_prior: tuple[float, ...] | None = None
    family_rule: PriorRule | None = None
    family_horizon: int | None = None
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    node: NodeRecipe = field(default_factory=NodeRecipe)
    ridge: RidgeRecipe | None = None
    """None: nodes are trained by `node`. Else nothing is trained, and a shard is one slice."""

    def __post_init__(self) -> None:
        _refuse_unless(1 <= self.shards <= 1024, "shards must lie in 1..1024")
        _refuse_unless(self.ridge is None or self.slices == 1, "a ridge head needs no slices: say 1")
        _ = self.family_choice  # refuses what does not fit

    @property
    def epochs(self) -> int:
        """How often a node is fed its records."""
        return self.node.epochs if self.ridge is None else 1

    @property
    def family_choice(self) -> FamilyChoice:
        """What the family's sets follow from."""
        return FamilyChoice(
            name=self.family,
            slices=self.slices,
            budget=self.family_budget,
            prior=self.family_prior,
            rule=self.family_rule,
            horizon=self.family_horizon,
        )

    def as_json(self) -> dict[str, Any]:
        """Return it without `ridge` where there is none: recipes of the time before ridge heads must stay as they were."""
        whole = {**asdict(self), "backbone": self.backbone.as_json(), "node": self.node.as_json()}
        if self.ridge is None:
            del whole["ridge"]
        return whole

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        # Recipes from before there were priors lack these names.
        prior, rule = value.get("family_prior"), value.get("family_rule")
        return cls(
            **{
                **value,
                "family": FamilyName(value["family"]),
                "family_prior": None if prior is None else tuple(prior),
                "family_rule": None if rule is None else PriorRule(rule),
                "backbone": BackboneRecipe(**value["backbone"]),
                "node": NodeRecipe.from_json(value["node"]),
                "ridge": RidgeRecipe(**value["ridge"]) if value.get("ridge") else None,
            }
        )

    def digest(self) -> str:
        """Return the hex digest of what shapes a node and is not in its key otherwise.

        The number of slices is, because it divides the layers into groups; shards and family are not, because the same
        node may stand in a lattice of another size or family.
        """
        inputs: dict[str, Any] = {"slices": self.slices, "node": self.node.as_json()}
        if self.ridge is not None:
            inputs = {"ridge": asdict(self.ridge), "ridge_protocol": RIDGE_PROTOCOL}
        return hashlib.sha256(b"lethe recipe\x00" + canonical(inputs)).hexdigest()
