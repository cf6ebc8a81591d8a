"""The contract for a data set of images: shape, labels, owners and column names, declared before any row is read.

Labels are declared, not collected: a list of the labels that happen to occur would be a function of the rows, and a
deletion could change what every other row means.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.domain.canonical import canonical

ROLES = ("images", "labels", "owners", "record_ids", "public")
"""What a column can be for, whatever it is called."""
LARGEST_EDGE = 4096
MOST_CHANNELS = 64
MOST_LABELS = 100_000
LARGEST_PIXEL = 1e30
_IDENTITY_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class ImageSchema:
    """What the rows of an image data set must look like."""

    image_shape: tuple[int, ...]
    """(height, width) or (height, width, channels), in pixels."""
    labels: tuple[str, ...]
    """The words for the classes; a label's index here is what the model predicts."""
    owner_identity_type: str
    """What an owner value is: `email`, `customer_id`, ... in lower snake case."""
    pixel_minimum: float = 0.0
    pixel_maximum: float = 255.0
    images_column: str = "images"
    labels_column: str = "labels"
    owners_column: str = "owners"
    record_ids_column: str = "record_ids"
    public_column: str | None = None
    """Flags the rows a backbone may be pre-trained on; None: no row is public."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        object.__setattr__(self, "labels", tuple(self.labels))
        _refuse_shape(self.image_shape)
        _refuse_labels(self.labels)
        if not _IDENTITY_TYPE.fullmatch(self.owner_identity_type):
            raise ValueError("owner_identity_type must be a word in lower snake case")
        if not all(map(math.isfinite, (self.pixel_minimum, self.pixel_maximum))):
            raise ValueError("pixel_minimum and pixel_maximum must be finite")
        if not -LARGEST_PIXEL <= self.pixel_minimum < self.pixel_maximum <= LARGEST_PIXEL:
            raise ValueError(f"pixel_minimum must be < pixel_maximum, both within {LARGEST_PIXEL:g} of zero")
        columns = list(self.columns().values())
        if not all(columns) or len(set(columns)) != len(columns):
            raise ValueError("column names must differ and must not be empty")

    def columns(self) -> dict[str, str]:
        """Return the name of the column for each role that the schema has."""
        named = {
            "images": self.images_column,
            "labels": self.labels_column,
            "owners": self.owners_column,
            "record_ids": self.record_ids_column,
        }
        return named if self.public_column is None else {**named, "public": self.public_column}

    @property
    def whole_pixels(self) -> bool:
        """Whether the declared range fits a byte, so that integer pixels are kept as bytes."""
        return self.pixel_minimum >= 0 and self.pixel_maximum <= 255  # noqa: PLR2004

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "image_shape": list(self.image_shape), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImageSchema:
        """Read back what `as_json` wrote.

        Raises:
            TypeError, ValueError: the value is no schema.
        """
        return cls(**value)

    def digest(self) -> str:
        """Return the hex digest of the whole contract."""
        return hashlib.sha256(b"lethe image schema\x00" + canonical(self.as_json())).hexdigest()


def _refuse_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3) or not all(isinstance(edge, int) and not isinstance(edge, bool) for edge in shape):
        raise ValueError("image_shape must be (height, width) or (height, width, channels)")
    if not all(1 <= edge <= LARGEST_EDGE for edge in shape[:2]):
        raise ValueError(f"height and width must lie in 1..{LARGEST_EDGE}")
    if not all(1 <= channels <= MOST_CHANNELS for channels in shape[2:]):
        raise ValueError(f"channels must lie in 1..{MOST_CHANNELS}")


def _refuse_labels(labels: tuple[str, ...]) -> None:
    if not 2 <= len(labels) <= MOST_LABELS:  # noqa: PLR2004
        raise ValueError(f"labels must be 2 to {MOST_LABELS} words")
    if not all(isinstance(label, str) and label and label == label.strip() for label in labels):
        raise ValueError("labels must be words, without white space around them")
    if len(set(labels)) != len(labels):
        raise ValueError("labels must differ from one another")
