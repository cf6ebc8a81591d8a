"""A ridge model forgets record by record: what a struck shard holds of others is kept, within the deletion itself. No torch.

    rows of the struck node ─▶ without the deleted records ─▶ sealed under a fresh key ─▶ a canonical node, live at once

What is kept is what a fresh build on the retained records holds, byte for byte, so no slice is lost, nothing is trained, and
the version that goes live with the deletion is retrain-equivalent already. (Not where the data set has grown and the shard was
not read anew yet: then it is provisional before and after.) If the old rows cannot be read, the shard is dead
until it is read anew, like any other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from core.audit.sorted_tree import commit
from core.domain.errors import KeyDestroyed, ObjectMissing, SealBroken
from core.domain.identifiers import new_identifier
from core.domain.manifest import NodeEntry
from core.domain.model import Recipe
from core.lattice.placement import Place
from core.persistence import models, nodes
from core.unlearning.exact.node_spec import NodeSpec, ShardGround
from core.unlearning.exact.ridge_rows import RidgeRows
from core.use_cases.doors import Doors
from core.use_cases.shard_members import slice_leaves


def keep_remainders(  # noqa: PLR0913
    session: Connection,
    doors: Doors,
    *,
    job: Row[Any],
    model: Row[Any],
    lost: Sequence[Row[Any]],
    gone: Collection[bytes],
) -> set[str]:
    """Keep of every lost node of a ridge model what is not deleted; return the keys of the nodes that are live now.

    Args:
        session: the deletion's transaction, which holds the model's lock; the lost nodes are switched off in it.
        doors: the outside.
        job: the deletion's job.
        model: the model's row.
        lost: the nodes that died for it.
        gone: references of the deleted records.
    """
    recipe = Recipe.from_json(model.recipe)
    backbone = models.find_backbone(session, model.tenant_id, model.backbone_key)
    if recipe.ridge is None or backbone is None:
        return set()
    kept: set[str] = set()
    for node in lost:
        started = time.perf_counter()
        rows = _opened(doors, node)
        if rows is None or not _is(recipe, backbone.digest, node, rows):
            continue  # what is here is not what the node was: better to read it anew
        rows = rows.without(gone)
        canonical = node.canonical or _is_all_there_is(session, doors, model, node.shard, rows)
        spec = _spec(recipe, backbone.digest, node.shard, rows, canonical=canonical)
        if spec.key in kept:
            continue  # one that was read before the data set grew, and one read since, may leave the same
        sealed = _sealed(doors, job, node, rows)
        entry = NodeEntry(
            key=spec.key,
            shard=spec.shard,
            slices=spec.slices,
            slice_roots=spec.slice_roots,
            parent=None,
            canonical=canonical,
            data_digest=rows.data_digest(spec.key),
            tensor_digest=rows.tensor_digest(),
        )
        nodes.add_node(
            session,
            entry,
            **sealed,
            tenant_id=model.tenant_id,
            model_id=model.id,
            job_id=job.id,
            fence=job.fence,
            records=len(rows),
            epochs=node.epochs,
            dataset_version=model.dataset_version if canonical else node.dataset_version,
            seconds=time.perf_counter() - started,
            environment=node.environment,
        )
        nodes.drop_draft(session, sealed["data_key_id"])
        kept.add(spec.key)
    return kept


def _opened(doors: Doors, node: Row[Any]) -> RidgeRows | None:
    try:
        return RidgeRows.from_bytes(doors.get_sealed(node.data_key_id, node.object_digest))
    except (KeyDestroyed, ObjectMissing, SealBroken, ValueError):
        return None


def _is(recipe: Recipe, backbone: str, node: Row[Any], rows: RidgeRows) -> bool:
    """Whether these rows are the node's; one whose slice has grown since is provisional now and was made canonical."""
    return any(_spec(recipe, backbone, node.shard, rows, canonical=made).key == node.key for made in (True, False))


def _is_all_there_is(session: Connection, doors: Doors, model: Row[Any], shard: int, rows: RidgeRows) -> bool:
    """Whether nothing is missing of what came with later versions: those may all have left again."""
    leaves, _ = slice_leaves(session, doors, model)
    return commit(leaves[Place(shard, 0)]) == commit(rows.leaves())


def _spec(recipe: Recipe, backbone: str, shard: int, rows: RidgeRows, *, canonical: bool) -> NodeSpec:
    ground = ShardGround(backbone=backbone, recipe=recipe.digest(), shard=shard, slice_roots=[commit(rows.leaves())])
    return ground.spec((0,), None, canonical=canonical)


def _sealed(doors: Doors, job: Row[Any], node: Row[Any], rows: RidgeRows) -> dict[str, str]:
    """Seal rows under a fresh key, whose name is on record before the key exists, whatever becomes of this transaction.

    In a transaction of its own: rolled back with the deletion, nobody would know the key of what was sealed already.
    """
    data_key_id = new_identifier("nod")
    with doors.database.transaction() as apart:
        nodes.add_draft(
            apart,
            tenant_id=node.tenant_id,
            data_key_id=data_key_id,
            model_id=node.model_id,
            shard=node.shard,
            slices=list(node.slices),
            job_id=job.id,
            fence=job.fence,
        )
    return {"data_key_id": data_key_id, "object_digest": doors.put_sealed(data_key_id, rows.to_bytes())}
