"""Change how eagerly a model is repaired, while it runs: what waits goes by the new policy from the next node on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.entry import Actor, ActorKind
from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.errors import BadInput, ModelNotFound, StaleRowVersion, WrongMode
from core.domain.model import ModelState, Recipe
from core.domain.repair import RepairBudget, RepairPolicy
from core.persistence import budgets, models
from core.use_cases.doors import Doors
from core.use_cases.read_models import describe_model
from core.use_cases.shard_jobs import add_shard_job, wants_training


@dataclass(frozen=True, kw_only=True)
class ModelChange:
    """What a caller wants changed; what is None stays."""

    repair: bool | None = None
    budget: RepairBudget | None = None
    unlimited: bool = False
    """Whether the budget goes."""


def change_model(
    model: str, change: ModelChange, *, caller: Caller, doors: Doors, seen: int | None = None
) -> dict[str, Any]:
    """Change a model's repair policy and return the model. Another budget begins with an empty balance.

    Args:
        model: id or name.
        change: what to change.
        caller: whoever asks.
        doors: the outside.
        seen: the row version that was looked at (If-Match); None changes whatever it is now.

    Raises:
        ModelNotFound: the tenant has none such.
        StaleRowVersion: it changed since it was looked at.
        BadInput: a repair that is switched off takes no budget.
    """
    caller.require(Scope.MODELS_WRITE)
    with doors.database.transaction(Actor(ActorKind.CLIENT, caller.key_id)) as session:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        if found.mode != Mode.EXACT:
            raise WrongMode("only models that were trained in slices are repaired")
        held = models.lock_model(session, found.id)
        if seen is not None and seen != held.row_version:
            raise StaleRowVersion
        policy = _changed(models.repair_policy(held), change)
        if policy != models.repair_policy(held):
            _apply(session, doors, held, policy)
        return describe_model(session, models.get_model(session, held.id))


def _changed(policy: RepairPolicy, change: ModelChange) -> RepairPolicy:
    wanted = policy.wanted if change.repair is None else change.repair
    if change.budget is not None:
        if change.repair is False:
            raise BadInput("a repair that is switched off takes no budget")
        return RepairPolicy(True, change.budget)
    return RepairPolicy(wanted, None if change.unlimited or not wanted else policy.budget)


def _apply(session: Connection, doors: Doors, model: Row[Any], policy: RepairPolicy) -> None:
    models.set_repair_policy(session, model, policy)
    budgets.close_account(session, model.id)
    changed = models.get_model(session, model.id)
    if changed.state == ModelState.LIVE and wants_training(doors, changed):
        for shard in range(Recipe.from_json(changed.recipe).shards):
            add_shard_job(session, doors, changed, shard)
