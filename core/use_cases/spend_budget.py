"""What a model's repair budget pays for, and when: worst shard first, then whoever took least; no torch.

    deletion ──credit──▶ balance ◀──credit── time            both are capped
    plan, commit: which nodes are affordable? their costs are reserved with their jobs, and the others leave a wish
    a node's job commits: the reservation is settled; whoever's wish can be met now is planned anew
    a node's job ends otherwise: what never began is given back, what died was spent

While a shard is below full depth, nobody buys spares, and no better shard spends what the worst one's next node costs.
A wish is met when the balance suffices, by `resume`; a job pays once, however often it is tried again.
Everything here happens under the model's lock, so no two jobs spend the same amount.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from core.domain.model import ModelState, Recipe
from core.domain.repair import RepairBudget, RepairMode
from core.lattice.cost import slice_epochs
from core.lattice.families import family_of
from core.persistence import budgets, job_questions, models, nodes
from core.unlearning.exact.node_spec import NodeSpec

RESTORES_DEPTH = 1000
"""Least priority of a job that plans a shard or restores its depth."""
OVER_BUDGET = "over_budget"
"""Error code of a node's job that the budget does not pay for now; the shard is planned anew when it does."""


@dataclass
class Purse:
    """A model's budget at one moment, under the model's lock."""

    budget: RepairBudget
    balance: float
    most: float
    rate: float
    """What one slice-epoch costs in the budget's unit."""
    full_depth: int
    depths: dict[int, int]
    taken: dict[int, float]
    """Per shard, slice-epochs that its repairs took."""
    wishes: dict[int, tuple[float, bool]]
    """Per shard, what it waits for, and whether that restores its depth."""
    restoring: Collection[int]
    """Shards that have a job which plans them or restores their depth."""

    def cost(self, depth: int) -> float:
        # What costs more than can ever be saved up is begun with all there is; a budget in time then goes into debt.
        return min(self.rate * depth, self.most)

    def rank(self, shard: int) -> tuple[int, float, int]:
        """Order shards by who comes first."""
        return (self.depths.get(shard, 0), self.taken.get(shard, 0.0), shard)

    def ahead(self, shard: int, *, restores: bool) -> list[int]:
        """Return the shards below full depth that come before this one; any of them comes before spares."""
        below = [
            other
            for other, depth in self.depths.items()
            if depth < self.full_depth and (other in self.restoring or self.wishes.get(other, (0.0, False))[1])
        ]
        if not restores:
            return below
        return [other for other in below if self.rank(other) < self.rank(shard)]

    def pays(self, shard: int, cost: float, *, restores: bool) -> bool:
        """Whether a node of that cost may be begun now."""
        ahead = self.ahead(shard, restores=restores)
        if ahead and not restores:
            return False
        return self.balance >= cost + sum(self.cost(self.depths[other] + 1) for other in ahead)


def open_purse(session: Connection, model: Row[Any]) -> Purse | None:
    """Return a locked model's budget, time credited; None when nothing limits it: no budget, or its first build."""
    policy = models.repair_policy(model)
    if policy.budget is None or model.state != ModelState.LIVE:
        return None
    recipe = Recipe.from_json(model.recipe)
    most = policy.budget.most(_whole(recipe))
    budgets.tidy(session, model.id)
    balance = budgets.accrue(
        session, tenant_id=model.tenant_id, model_id=model.id, per_second=policy.budget.per_second, most=most
    )
    shares = budgets.shares_of(session, model.id)
    depths = nodes.depths(session, model.id, recipe.slices)
    return Purse(
        budget=policy.budget,
        balance=balance,
        most=most,
        rate=nodes.seconds_per_slice(session, model.id) if policy.budget.in_seconds else 1.0,
        full_depth=recipe.slices,
        depths={shard: depths.get(shard, 0) for shard in range(recipe.shards)},
        taken={shard: row.slice_epochs for shard, row in shares.items()},
        wishes={shard: (row.wanted, bool(row.restores)) for shard, row in shares.items() if row.wanted is not None},
        restoring=job_questions.shards_at_work(session, model.id, at_least=RESTORES_DEPTH),
    )


def earn(session: Connection, model: Row[Any]) -> None:
    """Credit a deletion that struck a locked model."""
    budget = models.repair_policy(model).budget
    if budget is not None and budget.per_deletion:
        # First brings it to what may be saved up without this credit, then adds it: no deletion is credited for nothing.
        most = budget.most(_whole(Recipe.from_json(model.recipe))) - budget.per_deletion
        budgets.accrue(session, tenant_id=model.tenant_id, model_id=model.id, per_second=0.0, most=most)
        budgets.add_to_balance(session, model.id, budget.per_deletion)


def affordable(
    session: Connection, model: Row[Any], shard: int, ordered: Iterable[tuple[NodeSpec, bool]], *, whole: bool
) -> dict[str, float | None]:
    """Return the keys of the nodes that may be asked for, with what to reserve; note what the others need.

    Args:
        session: a transaction that holds the model's lock.
        model: its row.
        shard: of the nodes.
        ordered: nodes that could be trained now, most urgent first, each with whether it restores the shard's depth.
        whole: whether these are all of the shard's, so that an older wish is void.
    """
    purse = open_purse(session, model)
    if purse is None:
        return {spec.key: None for spec, _ in ordered}
    wish = None if whole else purse.wishes.get(shard)
    bought: dict[str, float | None] = {}
    for spec, restores in ordered:
        cost = purse.cost(spec.depth)
        if purse.pays(shard, cost, restores=restores):
            purse.balance -= cost
            bought[spec.key] = cost
            if restores:
                purse.restoring = {*purse.restoring, shard}
        elif wish is None or (not restores, cost) < (not wish[1], wish[0]):
            # Depth before spares, and then what is paid for soonest.
            wish = (cost, restores)
    _wish(session, model, shard, wish)
    return bought


def begin(session: Connection, model: Row[Any], spec: NodeSpec, job: Row[Any]) -> bool:
    """Whether the job that is about to train a node is paid for; one that was asked for under another policy pays now."""
    if budgets.reserved(session, job.id) is not None:
        return True
    purse = open_purse(session, model)
    if purse is None:
        return True
    cost, restores = purse.cost(spec.depth), job.priority >= RESTORES_DEPTH
    if not purse.pays(spec.shard, cost, restores=restores):
        _wish(session, model, spec.shard, (cost, restores))
        return False
    budgets.reserve(session, tenant_id=model.tenant_id, job_id=job.id, model_id=model.id, amount=cost)
    return True


def settle(session: Connection, model: Row[Any], spec: NodeSpec, job: Row[Any], seconds: float) -> None:
    """Book what a committed node of a live model took."""
    if model.state != ModelState.LIVE:
        return
    budget = models.repair_policy(model).budget
    budgets.settle(session, model.id, job.id, seconds if budget is not None and budget.in_seconds else None)
    budgets.charge(
        session,
        tenant_id=model.tenant_id,
        model_id=model.id,
        shard=spec.shard,
        slice_epochs=spec.depth,
        seconds=seconds,
    )


def payable(session: Connection, model: Row[Any]) -> list[int]:
    """Return the shards whose wishes the balance meets now, whoever comes first first."""
    purse = open_purse(session, model)
    if purse is None:
        return []
    met = []
    for shard in sorted(purse.wishes, key=purse.rank):
        wanted, restores = purse.wishes[shard]
        cost = min(wanted, purse.most)
        if purse.pays(shard, cost, restores=restores):
            met.append(shard)
            # What restores depth stays pledged, as its shard comes before those that follow here.
            purse.balance -= 0.0 if restores else cost
    return met


def may_repair(model: Row[Any]) -> bool:
    """Whether a live model is to be repaired at all: as its policy says, or this once because somebody asked."""
    return model.repair_once or models.repair_policy(model).mode is not RepairMode.OFF


def describe_repair(session: Connection, model: Row[Any]) -> dict[str, Any]:
    """Return a model's policy and account as the API shows them, without crediting anything."""
    policy = models.repair_policy(model)
    shares = budgets.shares_of(session, model.id)
    balance, age = budgets.account(session, model.id)
    shown: dict[str, Any] = {
        "policy": policy.mode,
        "budget": policy.budget.as_json() if policy.budget is not None else None,
        "balance": None,
        "unit": None,
        "taken": {
            "slice_epochs": sum(row.slice_epochs for row in shares.values()),
            "seconds": round(sum(row.seconds for row in shares.values()), 3),
        },
        "waiting_shards": [
            {"shard": shard, "needs": round(row.wanted, 3), "restores_depth": bool(row.restores)}
            for shard, row in shares.items()
            if row.wanted is not None
        ],
    }
    if policy.budget is not None:
        most = policy.budget.most(_whole(Recipe.from_json(model.recipe)))
        credited = balance + policy.budget.per_second * age
        shown |= {
            "balance": round(min(credited, most), 3),
            "unit": "seconds" if policy.budget.in_seconds else "slice_epochs",
        }
    return shown


def _wish(session: Connection, model: Row[Any], shard: int, wish: tuple[float, bool] | None) -> None:
    amount, restores = wish if wish is not None else (None, None)
    budgets.want(session, tenant_id=model.tenant_id, model_id=model.id, shard=shard, amount=amount, restores=restores)


def _whole(recipe: Recipe) -> int:
    return recipe.shards * slice_epochs(family_of(recipe).parents)
