"""Say what a deletion would do, without doing it: nodes that would die, depth that would be left, cost of the repair."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.model import Recipe
from core.lattice.cost import record_epochs, slice_epochs, struck_sets
from core.lattice.families import family_of
from core.lattice.placement import Place
from core.lattice.survival import served_nodes, switched_off
from core.persistence import nodes
from core.use_cases.doors import Doors
from core.use_cases.plan_method import preview_plan
from core.use_cases.resolve_subjects import DeletionOrder, Resolved, named_owners, placed, resolve_subjects


def preview_deletion(order: DeletionOrder, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return what accepting this order would do now.

    Raises:
        SubjectMissing, DatasetNotFound, ModelNotFound: see `named_owners` and `resolve_subjects`.
    """
    caller.require(Scope.REQUESTS_CREATE)
    owners = named_owners(doors, caller.tenant_id, order)
    with doors.database.transaction() as session:
        found = resolve_subjects(session, doors, caller.tenant_id, order, owners)
        return {
            "object": "deletion_preview",
            "records": len(found.records),
            "copies": {"under_other_owners": found.copies, "policy": order.copies},
            "owner_in_backbone": found.in_backbone,
            "models": [_preview(session, doors, model, found) for model in found.models],
        }


def _preview(session: Connection, doors: Doors, model: Row[Any], found: Resolved) -> dict[str, Any]:
    if model.mode == Mode.APPROXIMATE:
        return _preview_method(session, model, found)
    recipe = Recipe.from_json(model.recipe)
    learned = [row for row in found.records if row.version <= model.dataset_version]
    struck = {Place(one.shard, one.slice) for one in placed(doors, model, learned)}
    live = nodes.live_nodes(session, model.id)
    lost = {row.key for row in switched_off(live, struck)}
    # What a ridge model's struck nodes hold of others is live again in the same moment, and nothing is to be repaired.
    gone: set[str] = lost if recipe.ridge is None else set()
    left = nodes.servable([row for row in live if row.key not in gone], recipe.slices)
    depth_of = {node.key: node.depth for node in left}
    depths = [max((depth_of[key] for key in keys), default=0) for keys in served_nodes(left, recipe.shards)]
    family = family_of(recipe)
    costs = {"slice_epochs": 0, "record_epochs": 0}
    for shard in {where.shard for where in struck} if recipe.ridge is None else ():
        sets = struck_sets(family, {where.slice for where in struck if where.shard == shard})
        costs["slice_epochs"] += slice_epochs(sets) * recipe.node.epochs
        costs["record_epochs"] += record_epochs(sets, model.occupancy["records"][shard], recipe.node.epochs)
    return {
        "model": model.id,
        "slices_struck": [{"shard": where.shard, "slice": where.slice} for where in sorted(struck)],
        "nodes_switched_off": len(lost),
        "nodes_left": len(live) - len(gone),
        "depths_left": depths,
        "shards_left": sum(depth > 0 for depth in depths),
        "degraded": not any(depths),
        "repair_cost": costs,
    }


def _preview_method(session: Connection, model: Row[Any], found: Resolved) -> dict[str, Any]:
    """Return which methods would be tried on a checkpoint, in which order, and why not the others."""
    named = {bytes(row.record) for row in found.records if row.dataset_id == model.dataset_id}
    return {"model": model.id, "plan": preview_plan(session, model, named).as_json()}
