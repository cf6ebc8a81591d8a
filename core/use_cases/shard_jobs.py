"""Which jobs a shard needs next, and when what it has is published. No torch; inside somebody's transaction.

    train_shard (plans) ──▶ train_node for every missing node whose parent lives
    train_node (commits) ─▶ train_node for its children ─▶ … ─▶ publish

Everybody here holds the model's lock, so of many commits exactly one is the last and sees that nothing is missing. A
commit asks for the children of its own node only: a node that killed every worker is not asked for again by its
neighbours, but by the next plan of the shard.

A deletion leaves the waiting jobs of struck slices alone. To end them it would have to hold jobs after the model, the
wrong way round, and grow with what waits; a job that is pointless finds out from its plan and ends in milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.identifiers import new_identifier
from core.domain.job import JobKind
from core.domain.model import ModelState, Recipe
from core.persistence import budgets, job_questions, jobs, models, nodes, versions
from core.unlearning.exact.node_spec import NodeSpec
from core.use_cases.doors import Doors
from core.use_cases.publish_version import publish_version
from core.use_cases.shard_plan import PLANS_FIRST, ShardPlan
from core.use_cases.spend_budget import affordable, may_repair, payable

REPAIR_OFF = "repair_off"
"""Error code of a job whose model is not to be repaired any more."""


def shard_of(job: Row[Any]) -> int:
    """Return which shard a job's subject `{model}/{shard}` or `{model}/{shard}/{node key}` names."""
    return int(job.subject.split("/")[1])


def wants_training(doors: Doors, model: Row[Any]) -> bool:
    """Whether a shard that lost nodes is trained: a first build always goes on, a repair where repairs are wanted."""
    return bool(model.state != ModelState.LIVE or model.repair_once or (doors.settings.repair and may_repair(model)))


def add_shard_job(session: Connection, doors: Doors, model: Row[Any], shard: int, *, after: float = 0.0) -> None:
    """Ask for one shard to be planned; a job that waits already is enough."""
    jobs.add_job(
        session,
        tenant_id=model.tenant_id,
        id=new_identifier("job"),
        kind=JobKind.TRAIN_SHARD,
        subject=f"{model.id}/{shard}",
        model_id=model.id,
        priority=PLANS_FIRST,
        max_attempts=doors.settings.max_attempts,
        run_after=jobs.soon(after),
    )


def resume(session: Connection, doors: Doors, model: Row[Any]) -> int:
    """Plan the shards whose wishes the budget meets now; return how many."""
    met = payable(session, model) if wants_training(doors, model) else []
    for shard in met:
        add_shard_job(session, doors, model, shard)
    return len(met)


def add_ready_jobs(session: Connection, doors: Doors, plan: ShardPlan) -> int:
    """Ask for every missing node whose parent is live, or that stands on the bare backbone; return how many are new."""
    live = {row.key for row in plan.live} | {None}
    first, rest = plan.steps()
    ready = [spec for spec in first + rest if spec.parent_key in live]
    return _add_node_jobs(session, doors, plan, ready, {spec.key for spec in first}, whole=True)


def go_on(session: Connection, doors: Doors, model: Row[Any], plan: ShardPlan, spec: NodeSpec, job: Row[Any]) -> None:  # noqa: PLR0913, PLR0917 - one commit, told whole
    """Ask for what the node that was just committed makes possible, and publish where it is time.

    Args:
        session: the commit's transaction, which holds the model's lock; the node is in, and its job has ended.
        doors: the outside.
        model: the model's row, as locked.
        plan: what the node was trained by.
        spec: the node.
        job: its job.
    """
    present = plan.refreshed(session)
    if present is None:
        # A deletion touched other slices than the node's: the node stands, and what follows it is planned anew.
        if wants_training(doors, model):
            add_shard_job(session, doors, model, plan.shard)
        return
    first, rest = present.steps()
    if wants_training(doors, model):
        children = [child for child in first + rest if child.parent_key == spec.key]
        _add_node_jobs(session, doors, present, children, {child.key for child in first}, whole=False)
    restored = model.state == ModelState.LIVE and spec.depth == plan.recipe.slices
    if restored or not (first or rest) or is_at_rest(session, model, plan.shard):
        publish_shards(session, model, job)
    resume(session, doors, model)
    forget_once(session, model)


def forget_once(session: Connection, model: Row[Any]) -> None:
    """Let a model whose repair is off, and that was to be repaired this once, be left alone again when nothing is open."""
    if model.repair_once and not job_questions.is_open(session, model.id, f"{model.id}/"):
        models.repair_once(session, model.id, wanted=False)


def is_at_rest(session: Connection, model: Row[Any], shard: int) -> bool:
    """Whether no node of a shard waits or is being trained, be it that none is missing or that one could not be."""
    return not job_questions.is_open(session, model.id, f"{model.id}/{shard}/")


def publish_shards(session: Connection, model: Row[Any], job: Row[Any]) -> None:
    """Let the model serve what is there now; a first version waits until every shard has its deepest node."""
    fresh = versions.live_version(session, model.id) is None
    if fresh and not _every_shard_is_built(session, model):
        return
    reason = "build" if fresh else "repair"
    publish_version(session, model, provenance={"reason": reason, "request": None, "job": job.id, "fence": job.fence})


def _every_shard_is_built(session: Connection, model: Row[Any]) -> bool:
    recipe = Recipe.from_json(model.recipe)
    full = {row.shard for row in nodes.live_nodes(session, model.id) if len(row.slices) == recipe.slices}
    return len(full) == recipe.shards


def _add_node_jobs(  # noqa: PLR0913
    session: Connection,
    doors: Doors,
    plan: ShardPlan,
    specs: Sequence[NodeSpec],
    urgent: Collection[str],
    *,
    whole: bool,
) -> int:
    model, names = plan.model, {spec.key: f"{plan.model.id}/{plan.shard}/{spec.key}" for spec in specs}
    asked = job_questions.open_subjects(session, names.values())
    idle = plan.ordered([spec for spec in specs if names[spec.key] not in asked], urgent)
    wishes = [(spec, spec.key in urgent) for spec, _ in idle]
    paid = affordable(session, model, plan.shard, wishes, whole=whole)
    rows = [
        {
            "tenant_id": model.tenant_id,
            "id": new_identifier("job"),
            "kind": JobKind.TRAIN_NODE,
            "subject": names[spec.key],
            "model_id": model.id,
            "priority": priority,
            "max_attempts": doors.settings.max_attempts,
            "run_after": jobs.soon(0.0),
        }
        for spec, priority in idle
        if spec.key in paid
    ]
    added = jobs.add_jobs(session, rows)
    for row in rows:
        amount = paid[row["subject"].rpartition("/")[2]]
        if amount is not None:
            budgets.reserve(session, tenant_id=model.tenant_id, job_id=row["id"], model_id=model.id, amount=amount)
    return added
