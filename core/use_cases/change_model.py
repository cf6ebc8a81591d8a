"""Change a model's policy while it runs: how eagerly it is repaired, or by which methods a checkpoint is made to forget.

What waits goes by the new policy from the next node on, or from the next plan on.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from core.use_cases.change_policy import change_policy
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
    unlearning: Mapping[str, Any] | None = None
    """Fields of a policy of unlearning."""

    @property
    def of_repair(self) -> bool:
        return self.repair is not None or self.budget is not None or self.unlimited


def change_model(
    model: str, change: ModelChange, *, caller: Caller, doors: Doors, seen: int | None = None
) -> dict[str, Any]:
    """Change a model's policy and return the model. Another budget of repairs begins with an empty balance.

    Args:
        model: id or name.
        change: what to change.
        caller: whoever asks.
        doors: the outside.
        seen: the row version that was looked at (If-Match); None changes whatever it is now.

    Raises:
        ModelNotFound: the tenant has none such.
        StaleRowVersion: it changed since it was looked at.
        WrongMode: repairs are of models in exact mode, policies of unlearning of those in approximate mode.
        BadInput: a repair that is switched off takes no budget.
        PolicyRefused, MethodNeedsUnmet: the policy of unlearning will not do for this model.
    """
    caller.require(Scope.MODELS_WRITE)
    with doors.database.transaction(Actor(ActorKind.CLIENT, caller.key_id)) as session:
        found = models.find_model(session, caller.tenant_id, model)
        if found is None:
            raise ModelNotFound
        _check_mode(found, change)
        held = models.lock_model(session, found.id)
        if seen is not None and seen != held.row_version:
            raise StaleRowVersion
        if change.unlearning is not None:
            change_policy(session, held, change.unlearning)
        if change.of_repair:
            _change_repair(session, doors, held, change)
        return describe_model(session, models.get_model(session, held.id))


def _check_mode(model: Row[Any], change: ModelChange) -> None:
    if change.of_repair and model.mode != Mode.EXACT:
        raise WrongMode("only models that were trained in slices are repaired")
    if change.unlearning is not None and model.mode != Mode.APPROXIMATE:
        raise WrongMode("only models in approximate mode have a policy of unlearning")


def _change_repair(session: Connection, doors: Doors, model: Row[Any], change: ModelChange) -> None:
    policy = _changed(models.repair_policy(model), change)
    if policy != models.repair_policy(model):
        _apply(session, doors, model, policy)


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
