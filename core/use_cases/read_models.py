"""Show models, their versions and manifests, and how much of the lattice is alive."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from core.domain.access import Caller, Scope
from core.domain.checkpoint import Mode
from core.domain.errors import ModelNotFound, VersionNotFound
from core.domain.manifest import Manifest
from core.domain.model import Guarantee, Recipe
from core.lattice.families import family_of
from core.persistence import datasets, job_questions, models, nodes, versions
from core.use_cases.describe_checkpoint import describe_checkpoint
from core.use_cases.doors import Doors
from core.use_cases.publish_version import dataset_version_of
from core.use_cases.spend_budget import describe_repair
from core.use_cases.wording import moment, page, read_cursor


def read_models(*, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of models, newest first."""
    caller.require(Scope.MODELS_READ)
    before = read_cursor(cursor, of="models")
    with doors.database.transaction() as session:
        rows = models.page_of_models(session, caller.tenant_id, limit=limit + 1, before=before)
        shown = [describe_model(session, row) for row in rows]
    return page(shown, of="models", limit=limit)


def read_model(model: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one model, by id or name.

    Raises:
        ModelNotFound: the tenant has none such.
    """
    caller.require(Scope.MODELS_READ)
    with doors.database.transaction() as session:
        return describe_model(session, _find(session, caller, model))


def read_versions(model: str, *, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of a model's versions, newest first, without their manifests."""
    caller.require(Scope.MODELS_READ)
    filters = {"model": model}
    with doors.database.transaction() as session:
        found = _find(session, caller, model)
        before = read_cursor(cursor, of="versions", filters=filters, kind=int)
        rows = versions.list_versions(session, found.id, limit=limit + 1, before=before)
        live = versions.live_version(session, found.id)
        newest = _newest(session, found)
    shown = [_describe_version(row, live, newest) for row in rows]
    return page(shown, of="versions", limit=limit, key="number", filters=filters)


def read_version(model: str, version: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one version with its manifest: content (what is served) and provenance (how it came to be).

    Args:
        model: id or name.
        version: id, number, or `serving`.
        caller: whoever asks.
        doors: the outside.

    Raises:
        ModelNotFound, VersionNotFound: there is none such.
    """
    caller.require(Scope.MODELS_READ)
    with doors.database.transaction() as session:
        found = _find(session, caller, model)
        row = versions.find_version(session, found.id, version)
        live, newest = versions.live_version(session, found.id), _newest(session, found)
    if row is None:
        raise VersionNotFound
    return _describe_version(row, live, newest) | {"manifest": {"content": row.manifest, "provenance": row.provenance}}


def read_nodes(model: str, *, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of a model's live nodes, served or spare, shard by shard."""
    caller.require(Scope.MODELS_READ)
    filters = {"model": model}
    after = read_cursor(cursor, of="nodes", filters=filters)
    with doors.database.transaction() as session:
        found = _find(session, caller, model)
        rows = nodes.page_of_live_nodes(session, found.id, limit=limit + 1, after=after)
    names = (
        "key",
        "shard",
        "slices",
        "parent",
        "canonical",
        "dataset_version",
        "data_digest",
        "tensor_digest",
        "records",
        "epochs",
    )
    shown = [{name: getattr(row, name) for name in names} | {"seconds": round(row.seconds, 3)} for row in rows]
    return page(shown, of="nodes", limit=limit, key="key", filters=filters)


def describe_model(session: Connection, row: Row[Any]) -> dict[str, Any]:
    """Return a model as the API shows it; its placement key is write-only."""
    if row.mode == Mode.APPROXIMATE:
        return describe_checkpoint(session, row)
    live, newest = versions.live_version(session, row.id), _newest(session, row)
    manifest = Manifest.from_json(live.manifest) if live is not None else None
    recipe = Recipe.from_json(row.recipe)
    family = family_of(recipe)
    backbone = models.find_backbone(session, row.tenant_id, row.backbone_key)
    return {
        "id": row.id,
        "object": "model",
        "name": row.name,
        "mode": "exact",
        "dataset": row.dataset_id,
        "dataset_version": row.dataset_version,
        "newest_dataset_version": newest,
        "state": row.state,
        "recipe": row.recipe,
        "policy": {
            "approval_required": row.approval_required,
            "repair": row.repair,
            "repair_budget": row.repair_budget if row.repair else None,
        },
        "repair": describe_repair(session, row),
        "occupancy": row.occupancy,
        "backbone": None
        if backbone is None
        else {
            "source": _source(backbone.training),
            "records": backbone.training["records"],
        },
        "nodes": nodes.count_nodes(session, row.id) | {"complete": recipe.shards * len(family.parents)},
        "jobs": job_questions.count_open(session, row.id),
        "deleted_records": models.count_tombstones(session, row.id),
        "serving": None
        if live is None or manifest is None
        else {
            "version": live.id,
            "number": live.number,
            "manifest_digest": live.manifest_digest,
            "guarantee": live.guarantee,
            "dataset_version": dataset_version_of(live),
            "retrain_equivalent_for_newest": _for_newest(live, newest),
            "depths": list(manifest.depths()),
            "full_depth": recipe.slices,
            "degraded": manifest.degraded,
        },
        "row_version": row.row_version,
        "created_at": moment(row.created_at),
    }


def _source(training: dict[str, Any]) -> str:
    if "directory_digest" in training:
        return "directory"
    return "public_rows" if training["records"] else "chance"


def _find(session: Connection, caller: Caller, model: str) -> Row[Any]:
    row = models.find_model(session, caller.tenant_id, model)
    if row is None:
        raise ModelNotFound
    return row


def _newest(session: Connection, model: Row[Any]) -> int:
    """Return the number of the data set's newest version."""
    dataset = datasets.find_dataset(session, model.tenant_id, model.dataset_id)
    return int(dataset.version) if dataset is not None else int(model.dataset_version)


def _for_newest(version: Row[Any], newest: int) -> bool:
    """Whether a fresh build on the data set as it is now would serve the very same."""
    return version.guarantee == Guarantee.RETRAIN_EQUIVALENT and dataset_version_of(version) == newest


def _describe_version(row: Row[Any], live: Row[Any] | None, newest: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "model_version",
        "model": row.model_id,
        "number": row.number,
        "serving": live is not None and live.id == row.id,
        "guarantee": row.guarantee,
        "dataset_version": dataset_version_of(row),
        "retrain_equivalent_for_newest": _for_newest(row, newest),
        "manifest_digest": row.manifest_digest,
        "created_at": moment(row.created_at),
    }
