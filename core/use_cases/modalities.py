"""Where a data set's contract meets torch: arrays to tensors, and the backbone that reads them. One part per kind.

Everything that scales a value comes from the contract, never from the rows: a deletion must not move what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.datasets.image_schema import ImageSchema
from core.datasets.schema import Schema, TabularSchema, TextSchema
from core.domain.model import BackboneRecipe
from core.domain.task import Classification, Regression
from core.modelling import images, tabular
from core.modelling.backbone import Backbone, BackboneShape
from core.modelling.tabular_transformer import TabularTransformerShape
from core.modelling.tensors import NamedTensors
from core.modelling.text_transformer import TextTransformer, TextTransformerShape
from core.modelling.vision_transformer import VisionTransformerShape

Arrays = Mapping[str, NDArray[Any]]


def backbone_shape(schema: ImageSchema | TabularSchema, recipe: BackboneRecipe) -> BackboneShape:
    """Return the shape of the backbone that a recipe means for such rows.

    Raises:
        Impossible: there is none.
    """
    if isinstance(schema, ImageSchema):
        return VisionTransformerShape.from_recipe(
            recipe, image_shape=images.tensor_shape(schema.image_shape), classes=schema.task.outputs
        )
    return TabularTransformerShape.from_recipe(
        recipe,
        numbers=len(schema.numeric),
        categories=tuple(len(column.categories) for column in schema.categorical),
        outputs=schema.task.outputs,
        task=schema.task.name,
    )


def backbone_of(schema: Schema, recipe: BackboneRecipe, tensors: NamedTensors) -> Backbone:
    """Return the backbone that these tensors are.

    Raises:
        ValueError: they are those of another.
    """
    if isinstance(schema, TextSchema):
        return TextTransformerShape.of(tensors, recipe, schema.task.outputs).backbone(tensors)
    return backbone_shape(schema, recipe).backbone(tensors)


def as_inputs(schema: Schema, arrays: Arrays, backbone: Backbone | None = None) -> Tensor:
    """Return (n, *input_shape) what a backbone reads, from rows or from questions.

    Args:
        schema: the contract, which alone scales values.
        arrays: the rows, or the questions.
        backbone: a text's words are counted by the backbone's own tokenizer; other kinds do without.
    """
    if isinstance(schema, TextSchema):
        if not isinstance(backbone, TextTransformer):
            raise TypeError("texts are read by a text transformer")
        return backbone.token_ids(arrays["texts"].tolist())
    if isinstance(schema, ImageSchema):
        return images.as_tensor(
            arrays["images"], pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum
        )
    ranges = [(column.minimum, column.maximum) for column in schema.numeric]
    return tabular.as_tensor(arrays["numbers"], arrays["categories"], ranges)


def as_targets(schema: Schema, arrays: Arrays) -> Tensor:
    """Return (n,) what a model is to say about the rows: labels, or numbers with the declared range at -1..1."""
    task = schema.task
    if isinstance(task, Classification):
        return torch.tensor(arrays["labels"], dtype=torch.int64)
    scaled = tabular.scaled_number(arrays["values"], task.minimum, task.maximum)
    return torch.tensor(scaled, dtype=torch.float32)


def answers(schema: Schema, outputs: Tensor) -> list[dict[str, Any]]:
    """Return for (n, outputs) what they say: a label and its probability, or a value in the contract's units."""
    task = schema.task
    if isinstance(task, Regression):
        numbers = tabular.unscaled_number(outputs[:, 0].numpy(), task.minimum, task.maximum)
        return [{"value": float(number)} for number in numbers]
    chances = torch.softmax(outputs, dim=1).numpy()
    return [
        {"label": task.labels[index], "probability": round(float(chances[row, index]), 6)}
        for row, index in enumerate(chances.argmax(axis=1).tolist())
    ]
