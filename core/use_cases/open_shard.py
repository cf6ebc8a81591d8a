"""Open a shard's rows and its model's backbone, to train on them or to answer from them. Loads torch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.datasets.schema import Schema
from core.domain.errors import NoBackboneYet
from core.domain.model import Recipe
from core.modelling.backbone import Backbone
from core.modelling.determinism import device_of
from core.modelling.tensors import from_bytes
from core.persistence import models
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.slice_records import SliceRecords
from core.use_cases.activation_files import ActivationFiles
from core.use_cases.doors import Doors
from core.use_cases.keep_activations import KeptActivations
from core.use_cases.modalities import as_inputs, as_targets, backbone_of
from core.use_cases.read_rows import PlainRows, read_rows
from core.use_cases.shard_plan import ShardPlan


def open_activations(doors: Doors, plan: ShardPlan) -> SliceActivations:
    """Open the shard's rows and its backbone.

    Raises:
        KeyDestroyed: rows were erased since the plan was read.
    """
    schema = plan.schema
    backbone = open_backbone(doors, plan.model, plan.recipe, schema)

    def opened(number: int, rows: PlainRows) -> SliceRecords:
        inputs, targets = as_inputs(schema, rows.arrays, backbone), as_targets(schema, rows.arrays, backbone)
        return SliceRecords.sorted_by_reference(number, rows.records, rows.contents, inputs=inputs, targets=targets)

    read = {number: read_rows(doors, blocks, schema=schema, keep=plan.members) for number, blocks in plan.blocks}
    slices = {number: opened(number, rows) for number, rows in read.items()}
    device = device_of(doors.settings.trainer_device)
    if not doors.settings.activation_cache_mebibytes:
        return SliceActivations(backbone, slices, device=device)
    ActivationFiles(doors.settings).sweep(doors.keys)
    owners = {
        reference.tobytes(): key_id
        for rows in read.values()
        for reference, key_id in zip(rows.records, rows.key_ids, strict=True)
    }
    kept = KeptActivations(doors, backbone, plan.ground.backbone, slices, owners, device)
    return SliceActivations(backbone, slices, kept, device)


def open_backbone(doors: Doors, model: Row[Any], recipe: Recipe, schema: Schema) -> Backbone:
    """Return the model's backbone, opened from the store.

    Raises:
        NoBackboneYet: it is still being built.
    """
    with doors.database.transaction() as session:
        row = models.find_backbone(session, model.tenant_id, model.backbone_key)
    if row is None:
        raise NoBackboneYet
    tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
    return backbone_of(schema, recipe.backbone, tensors)
