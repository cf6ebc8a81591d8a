"""Where a data set's contract meets torch: arrays to tensors, and the backbone that reads them. One part per kind.

Everything that scales a value comes from the contract, never from the rows: a deletion must not move what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.datasets.schema import Schema
from core.domain.model import BackboneRecipe
from core.modelling import images
from core.modelling.backbone import BackboneShape
from core.modelling.vision_transformer import VisionTransformerShape

Arrays = Mapping[str, NDArray[Any]]


def backbone_shape(schema: Schema, recipe: BackboneRecipe) -> BackboneShape:
    """Return the shape of the backbone that a recipe means for such rows.

    Raises:
        Impossible: there is none.
    """
    return VisionTransformerShape.from_recipe(
        recipe, image_shape=images.tensor_shape(schema.image_shape), classes=schema.task.outputs
    )


def as_inputs(schema: Schema, arrays: Arrays) -> Tensor:
    """Return (n, *input_shape) what a backbone reads, from rows or from questions."""
    return images.as_tensor(arrays["images"], pixel_minimum=schema.pixel_minimum, pixel_maximum=schema.pixel_maximum)


def as_targets(schema: Schema, arrays: Arrays) -> Tensor:  # noqa: ARG001 - the next kind asks the schema
    """Return (n,) what a model is to say about the rows."""
    return torch.from_numpy(np.ascontiguousarray(arrays["labels"]))
