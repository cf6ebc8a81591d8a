"""What one shard's nodes depend on, as it is now: its slices' roots and epochs, its live nodes, its rows. No torch.

Reading a plan looks at every member of the model, so it holds no lock. It is safe all the same: the epochs are read
first and compared again, under the model's lock, by everything that acts on the plan. A deletion in between has raised
one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.sorted_tree import commit
from core.datasets.schema import Schema, schema_from_json
from core.domain.errors import NoBackboneYet, OvertakenByDeletion
from core.domain.model import ModelState, Recipe
from core.lattice.families import Family, SliceSet, family_of
from core.lattice.placement import Place
from core.persistence import datasets, models, nodes
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.repair import missing_nodes, provisional_extension
from core.unlearning.exact.worth import worth_of_missing
from core.use_cases.doors import Doors
from core.use_cases.shard_members import slice_leaves
from core.use_cases.spend_budget import RESTORES_DEPTH

PLANS_FIRST, COMPLETES = 2000, 0
"""Priorities in the compute lane: a plan; then a node that restores depth, the worst shard first; then any other node."""
MOST_SLICES = 64
WORTH_RANGE = 900
"""Nodes that save more depth for their cost come first, below those that restore depth."""


@dataclass(frozen=True)
class ShardPlan:
    """One shard at one moment; `epochs` fence off every deletion since."""

    model: Row[Any]
    recipe: Recipe
    shard: int
    schema: Schema
    epochs: dict[int, int]
    ground: ShardGround
    live: list[Row[Any]]
    blocks: list[tuple[int, list[Row[Any]]]]
    """Per slice the blocks of its owners."""
    members: frozenset[bytes]

    @property
    def family(self) -> Family:
        return family_of(self.recipe)

    def steps(self) -> tuple[list[NodeSpec], list[NodeSpec]]:
        """Return the nodes that restore full depth, and the canonical ones that are missing besides."""
        entries = [nodes.as_entry(row) for row in self.live]
        # A model that never answered has no depth to restore: it is built as a fresh build is.
        first = provisional_extension(self.family, self.ground, entries) if self.model.state == ModelState.LIVE else []
        done = {spec.key for spec in first}
        return first, [spec for spec in missing_nodes(self.family, self.ground, entries) if spec.key not in done]

    def ordered(self, specs: Iterable[NodeSpec], urgent: Collection[str]) -> list[tuple[NodeSpec, int]]:
        """Return nodes with their priorities, most urgent first.

        A live model's worst shard is restored first; then nodes are trained by the depth they are expected to save for
        their cost. A first build takes them as they come.
        """
        served = max((len(row.slices) for row in self.live), default=0)
        worth: dict[SliceSet, float] = {}
        if self.model.state == ModelState.LIVE:
            clean = [tuple(row.slices) for row in self.live]
            canonical = {tuple(row.slices) for row in self.live if row.canonical}
            missing = [slices for slices in self.family.parents if slices not in canonical]
            worth = worth_of_missing(self.family, clean, missing)

        def priority(spec: NodeSpec) -> int:
            if spec.key in urgent:
                return RESTORES_DEPTH + MOST_SLICES - served
            value = worth.get(spec.slices, 0.0)
            return COMPLETES + round(WORTH_RANGE * value / (1 + value)) + (value > 0)

        listed = [(spec, priority(spec)) for spec in specs]
        return sorted(listed, key=lambda one: -one[1])

    def refreshed(self, session: Connection) -> ShardPlan | None:
        """Return the plan with the nodes that are live now; None when its ground moved, so that it must be read anew.

        Cheap: neither members nor blocks are looked at. Whoever acts on the answer holds the model's lock.
        """
        model = models.get_model(session, self.model.id)
        epochs = models.slice_epochs(session, model.id, self.shard)
        if epochs != self.epochs or model.backbone_key != self.model.backbone_key:
            return None
        return replace(self, model=model, live=nodes.live_nodes(session, model.id, self.shard))

    def refuse_overtaken(self, session: Connection, slices: Sequence[int]) -> None:
        """Check that no deletion touched these slices since.

        Raises:
            OvertakenByDeletion: one did.
        """
        now = models.slice_epochs(session, self.model.id, self.shard)
        if any(now[number] != self.epochs[number] for number in slices):
            raise OvertakenByDeletion


def read_plan(session: Connection, doors: Doors, model_id: str, shard: int, *, version: int | None = None) -> ShardPlan:
    """Note everything that training one shard depends on.

    Args:
        session: a transaction.
        doors: the outside.
        model_id: which model.
        shard: which of its shards.
        version: of the data set, for a replay; None: the one that the model learns from.

    Raises:
        NoBackboneYet: it is still being built.
    """
    epochs = models.slice_epochs(session, model_id, shard)  # before anything that they fence
    model = models.get_model(session, model_id)
    recipe = Recipe.from_json(model.recipe)
    backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
    dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    if backbone is None or dataset is None:
        raise NoBackboneYet
    version = model.dataset_version if version is None else version
    leaves, places = slice_leaves(session, doors, model, version=version)
    mine = [leaves[Place(shard, number)] for number in range(recipe.slices)]
    blocks: dict[int, list[Row[Any]]] = {number: [] for number in range(recipe.slices)}
    for block in datasets.live_blocks(session, model.dataset_id, public=False, version=version):
        where = places.get(bytes(block.owner))
        if where is not None and where.shard == shard:
            blocks[where.slice].append(block)
    return ShardPlan(
        model=model,
        recipe=recipe,
        shard=shard,
        schema=schema_from_json(dataset.schema),
        epochs=epochs,
        ground=ShardGround(
            backbone=backbone.digest,
            recipe=recipe.digest(),
            shard=shard,
            slice_roots=[commit(part) for part in mine],
        ),
        live=nodes.live_nodes(session, model_id, shard),
        blocks=list(blocks.items()),
        members=frozenset(leaf[:32] for part in mine for leaf in part),
    )
