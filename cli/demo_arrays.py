"""A user's arrays for the demo: an NPZ, or one file per column, read as carefully as the service reads an upload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.output import unusable
from core.datasets.readers import read_columns
from core.datasets.schema import ImageSchema
from core.datasets.texts import as_texts, is_text

LARGEST_FILE = 4 << 30

Pixels = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Rows as they were read, before any rule."""

    name: str
    images: Pixels
    """(n, height, width) or (n, height, width, channels)"""
    labels: list[str]
    owners: list[str] | None = None
    """None: nobody said whose rows these are."""
    record_ids: list[str] | None = None
    public: NDArray[np.bool_] | None = None
    pixels: tuple[float, float]
    """The lowest and highest value a pixel may have."""

    @property
    def answers(self) -> list[str]:
        return self.labels


def read_arrays(
    files: Mapping[str, bytes],
    columns: Mapping[str, str],
    *,
    name: str,
    pixels: tuple[float | None, float | None],
    rows: int | None,
) -> Arrays:
    """Read a user's arrays.

    Args:
        files: under "file" an NPZ, or one file per column.
        columns: what the columns are called in the NPZ, by role.
        name: what to call the data.
        pixels: the range of pixels, where it was said.
        rows: how many rows to use; None: all.

    Raises:
        CommandFailed: a column is missing, or is not what it must be.
        LetheError: a file cannot be read.
    """
    # Only the names of the columns matter here; shape and labels are read off the rows below.
    names: dict[str, Any] = {f"{role}_column": column for role, column in columns.items()}
    naming = ImageSchema(image_shape=(1, 1), labels=("no", "yes"), owner_identity_type="customer_id", **names)
    found = {
        role: column[:rows] for role, column in read_columns(files, schema=naming, limit_bytes=LARGEST_FILE).items()
    }
    for role in ("images", "labels"):
        if role not in found:
            raise unusable(
                f"the data have no column {columns[role]!r}; name it with --{role}-column, or give a file with --{role}"
            )
    images = found["images"]
    if images.ndim not in (3, 4) or images.dtype.kind not in "buif":
        raise unusable(
            f"images must be numbers of shape (n, height, width) or (n, height, width, channels), got {images.shape}"
        )
    lengths = {role: len(column) for role, column in found.items()}
    if len(set(lengths.values())) > 1 or not len(images):
        raise unusable(
            "columns differ in length: " + ", ".join(f"{role} {count}" for role, count in sorted(lengths.items()))
        )
    return Arrays(
        name=name,
        images=images if images.dtype.kind == "f" else images.astype(np.uint8) if images.dtype.kind == "b" else images,
        labels=_texts(found, "labels") or [],
        owners=_texts(found, "owners"),
        record_ids=_texts(found, "record_ids"),
        public=_flags(found.get("public")),
        pixels=_range(images, pixels),
    )


def _texts(found: Mapping[str, Pixels], role: str) -> list[str] | None:
    if role not in found:
        return None
    if not is_text(found[role]) or found[role].ndim != 1:
        raise unusable(f"column {role} must hold one word or number per row")
    return as_texts(found[role])[0]


def _flags(column: Pixels | None) -> NDArray[np.bool_] | None:
    if column is None:
        return None
    if column.dtype.kind == "b":
        return np.asarray(column)
    return np.array([text in ("1", "true", "True") for text in as_texts(column)[0]], bool)


def _range(images: Pixels, wanted: tuple[float | None, float | None]) -> tuple[float, float]:
    lowest, highest = float(images.min()), float(images.max())
    if wanted[0] is not None and wanted[1] is not None:
        return wanted[0], wanted[1]
    for top in (1.0, 255.0):
        if lowest >= 0 and highest <= top:
            return 0.0, top
    raise unusable(
        f"pixels go from {lowest:g} to {highest:g}; say their range with --pixel-minimum and --pixel-maximum"
    )
