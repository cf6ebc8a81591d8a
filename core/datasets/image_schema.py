"""The contract for a data set of images: shape, labels, owners and column names.

Labels are declared, not collected: a list of the labels that happen to occur would be a function of the rows, and a
deletion could change what every other row means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from core.datasets.contract import Contract, Kind, refuse_words
from core.domain.task import Classification

ROLES = ("images", "labels", "owners", "record_ids", "public")
"""What a column can be for, whatever it is called."""
LARGEST_EDGE = 4096
MOST_CHANNELS = 64
LARGEST_PIXEL = 1e30


@dataclass(frozen=True, kw_only=True)
class ImageSchema(Contract):
    """What the rows of an image data set must look like."""

    kind: ClassVar[Kind] = Kind.IMAGE

    image_shape: tuple[int, ...]
    """(height, width) or (height, width, channels), in pixels."""
    labels: tuple[str, ...]
    """The words for the classes; a label's index here is what the model predicts."""
    pixel_minimum: float = 0.0
    pixel_maximum: float = 255.0
    images_column: str = "images"
    labels_column: str = "labels"

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        object.__setattr__(self, "labels", tuple(self.labels))
        _refuse_shape(self.image_shape)
        refuse_words(self.labels, "labels")
        if not all(map(math.isfinite, (self.pixel_minimum, self.pixel_maximum))):
            raise ValueError("pixel_minimum and pixel_maximum must be finite")
        if not -LARGEST_PIXEL <= self.pixel_minimum < self.pixel_maximum <= LARGEST_PIXEL:
            raise ValueError(f"pixel_minimum must be < pixel_maximum, both within {LARGEST_PIXEL:g} of zero")
        super().__post_init__()

    @property
    def task(self) -> Classification:
        return Classification(self.labels)

    @property
    def content_columns(self) -> Mapping[str, str]:
        return {"images": self.images_column, "labels": self.labels_column}

    @property
    def whole_pixels(self) -> bool:
        """Whether the declared range fits a byte, so that integer pixels are kept as bytes."""
        return self.pixel_minimum >= 0 and self.pixel_maximum <= 255  # noqa: PLR2004

    def as_json(self) -> dict[str, Any]:
        """Return the contract without its kind: images came first, and digests and backbones of that time must hold."""
        return {**asdict(self), "image_shape": list(self.image_shape), "labels": list(self.labels)}


def _refuse_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or not all(isinstance(edge, int) and not isinstance(edge, bool) for edge in shape):
        raise ValueError("image_shape must be (height, width) or (height, width, channels)")
    if not all(1 <= edge <= LARGEST_EDGE for edge in shape[:2]):
        raise ValueError(f"height and width must lie in 1..{LARGEST_EDGE}")
    if not all(1 <= channels <= MOST_CHANNELS for channels in shape[2:]):
        raise ValueError(f"channels must lie in 1..{MOST_CHANNELS}")
