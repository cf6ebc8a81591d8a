"""Open a shard's rows and its model's backbone, to train on them or to answer from them. Loads torch."""

from __future__ import annotations

from typing import Any

import torch
from sqlalchemy import Row

from core.datasets.schema import ImageSchema
from core.domain.errors import NoBackboneYet
from core.domain.model import Recipe
from core.modelling.images import as_tensor, tensor_shape
from core.modelling.tensors import from_bytes
from core.modelling.vision_transformer import VisionTransformer, VisionTransformerShape
from core.persistence import models
from core.unlearning.exact.activations import SliceActivations
from core.unlearning.exact.slice_records import SliceRecords
from core.use_cases.doors import Doors
from core.use_cases.read_rows import PlainRows, read_rows
from core.use_cases.shard_plan import ShardPlan


def open_activations(doors: Doors, plan: ShardPlan) -> SliceActivations:
    """Open the shard's rows and its backbone.

    Raises:
        KeyDestroyed: rows were erased since the plan was read.
    """
    schema = plan.schema

    def opened(number: int, rows: PlainRows) -> SliceRecords:
        images = as_tensor(rows.images, pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum)
        labels = torch.from_numpy(rows.labels)
        return SliceRecords.sorted_by_reference(number, rows.records, rows.contents, images=images, labels=labels)

    slices = {
        number: opened(number, read_rows(doors, blocks, image_shape=schema.image_shape, keep=plan.members))
        for number, blocks in plan.blocks
    }
    return SliceActivations(open_backbone(doors, plan.model, plan.recipe, schema), slices)


def open_backbone(doors: Doors, model: Row[Any], recipe: Recipe, schema: ImageSchema) -> VisionTransformer:
    """Return the model's backbone, opened from the store.

    Raises:
        NoBackboneYet: it is still being built.
    """
    with doors.database.transaction() as session:
        row = models.find_backbone(session, model.tenant_id, model.backbone_key)
    if row is None:
        raise NoBackboneYet
    shape = VisionTransformerShape.from_recipe(
        recipe.backbone, image_shape=tensor_shape(schema.image_shape), classes=len(schema.labels)
    )
    return VisionTransformer(shape, from_bytes(doors.get_sealed(row.data_key_id, row.object_digest)))
