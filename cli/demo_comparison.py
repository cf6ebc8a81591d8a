"""What deletion costs without the lattice: the affected SISA shard and one whole model, really trained again, once each.

Both are one chain of L stages (arXiv:1912.03817) by the very trainer that made the nodes: same backbone, recipe, epochs
and thread count, on the records that are left. Rows, keys and backbone come straight from the service's own stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import private_postgres
from cli.demo_data import DemoData
from cli.demo_score import score
from core.audit.sorted_tree import commit
from core.datasets.kinds import read_questions
from core.domain.model import FamilyName, Recipe
from core.lattice.families import build_family
from core.settings import Settings
from core.unlearning.exact.node_spec import NodeSpec
from core.unlearning.exact.repair import canonical_nodes
from core.use_cases.doors import Doors
from core.use_cases.shard_members import slice_leaves
from core.use_cases.shard_plan import ShardPlan, read_plan

if TYPE_CHECKING:
    from core.unlearning.exact.nodes import NodeTensors


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """One chain, trained from the bare backbone."""

    records: int
    """Records that are left and were learned."""
    record_epochs: int
    """Records fed times epochs, summed over the stages."""
    seconds: float
    accuracy: float
    """On the held-out rows, of this chain alone; R² for a regression."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    shard: Retrained
    whole: Retrained
    accuracy_public: float
    """Of the backbone's public head, which never saw an owner's row."""
    environment: dict[str, Any]


def compare(
    service: Path, model: str, shard: int, data: DemoData, show: Callable[[float, str], None] = lambda *_: None
) -> Comparison:
    """Train both and measure them.

    Args:
        service: the service's data directory.
        model: identifier of the model.
        shard: which shard the last deletion struck.
        data: for its held-out rows.
        show: told the share that is done and what happens now.
    """
    from core.modelling.determinism import environment, pinned

    settings = Settings(data_directory=service)
    pinned(settings.trainer_threads)
    with private_postgres.doors(settings) as doors:
        plans = _plans(doors, model)
        recipe = plans[0].recipe
        one = _retrained(doors, plans[shard], data, lambda stage: show(0.3 * stage / recipe.slices, "SISA shard"))
        together = _unsharded(doors, plans)
        everything = _retrained(
            doors, together, data, lambda stage: show(0.3 + 0.7 * stage / recipe.slices, "full model")
        )
        public = _accuracy(doors, plans[0], data, [])
    return Comparison(shard=one, whole=everything, accuracy_public=public, environment=environment())


def _plans(doors: Doors, model: str) -> list[ShardPlan]:
    with doors.database.transaction() as session:
        first = read_plan(session, doors, model, 0)
        return [first, *(read_plan(session, doors, model, shard) for shard in range(1, first.recipe.shards))]


def _unsharded(doors: Doors, plans: Sequence[ShardPlan]) -> ShardPlan:
    """Return the plan of one shard that holds everybody.

    An owner's slice is their number modulo m·L, modulo L: the same whether there are m shards or one.
    """
    first = plans[0]
    with doors.database.transaction() as session:
        leaves, _ = slice_leaves(session, doors, first.model)
    slices = range(first.recipe.slices)
    members = [[leaf for place, mine in leaves.items() if place.slice == number for leaf in mine] for number in slices]
    return replace(
        first,
        recipe=Recipe(
            shards=1,
            slices=first.recipe.slices,
            family=FamilyName.CHAIN,
            backbone=first.recipe.backbone,
            node=first.recipe.node,
        ),
        shard=0,
        ground=replace(first.ground, shard=0, slice_roots=[commit(part) for part in members]),
        live=[],
        blocks=[(number, [block for plan in plans for block in dict(plan.blocks)[number]]) for number in slices],
        members=frozenset(member for plan in plans for member in plan.members),
    )


def _chain(plan: ShardPlan) -> list[NodeSpec]:
    return canonical_nodes(build_family(FamilyName.CHAIN, plan.recipe.slices), plan.ground)


def _retrained(doors: Doors, plan: ShardPlan, data: DemoData, done: Callable[[int], None]) -> Retrained:
    from core.unlearning.exact.training import train_node
    from core.use_cases.open_shard import open_activations

    activations = open_activations(doors, plan)
    chain: list[NodeTensors] = []
    passes = records = 0
    began = time.perf_counter()
    for spec in _chain(plan):
        trained = train_node(spec, activations=activations, parents=chain, recipe=plan.recipe)
        chain.append(trained.tensors)
        passes += trained.records * trained.epochs
        records = trained.records
        done(spec.depth)
    seconds = time.perf_counter() - began
    return Retrained(
        records=records, record_epochs=passes, seconds=round(seconds, 2), accuracy=_accuracy(doors, plan, data, chain)
    )


def _accuracy(doors: Doors, plan: ShardPlan, data: DemoData, chain: list[NodeTensors]) -> float:
    """Return the score of one chain on the held-out rows; of the public head when the chain is empty."""
    from core.modelling.ensemble import Ensemble
    from core.use_cases.modalities import answer_questions
    from core.use_cases.open_shard import open_backbone

    schema, recipe = plan.schema, plan.recipe
    backbone = open_backbone(doors, plan.model, recipe, schema)
    ensemble = Ensemble.build(backbone, [[chain] if chain else []], recipe.node)
    found: list[dict[str, Any]] = []
    for start in range(0, len(data.held_out_answers), 256):
        questions = read_questions(data.questions(start, start + 256), schema)
        found += answer_questions(schema, ensemble, questions)
    return score(data.task, found, data.held_out_answers)
