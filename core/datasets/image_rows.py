"""Images of a declared shape and range: as columns of an upload, as questions to a predictor, as bytes to digest."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.flaws import Flaws
from core.datasets.image_schema import ImageSchema
from core.datasets.labels import label_indices
from core.datasets.texts import is_text
from core.domain.errors import BadInput

Arrays = dict[str, NDArray[Any]]
NAMES = {"images", "labels"}


def check_columns(columns: Mapping[str, NDArray[Any]], schema: ImageSchema, flaws: Flaws) -> None:
    """Note what is wrong with the type or shape of a whole column."""
    if "images" in columns:
        images = columns["images"]
        if images.dtype.kind not in "buif":
            flaws.whole("images", "wrong_type", "images must be numbers")
        elif images.ndim == 0 or images.shape[1:] != schema.image_shape:
            expected = _written(("n", *schema.image_shape))
            flaws.whole("images", "wrong_shape", f"the shape must be {expected}, got {_written(images.shape)}")
    if "labels" in columns and not is_text(columns["labels"]):
        flaws.whole("labels", "wrong_type", "the column must hold strings or integers")


def as_arrays(columns: Mapping[str, NDArray[Any]], schema: ImageSchema, flaws: Flaws) -> Arrays:
    """Return `images`, (n, *image_shape) uint8 or float32, and `labels`, (n,) int64."""
    return {
        "images": _images(columns["images"], schema, flaws),
        "labels": label_indices(columns["labels"], schema.labels, flaws),
    }


def no_arrays(schema: ImageSchema) -> Arrays:
    """Return the arrays of no rows at all."""
    return {"images": np.empty((0, *schema.image_shape), np.uint8), "labels": np.empty(0, np.int64)}


def fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether these are arrays as `as_arrays` makes them."""
    images, labels = arrays["images"], arrays["labels"]
    return images.dtype in (np.uint8, np.float32) and images.ndim in (3, 4) and labels.dtype == np.int64


def row_content(image: NDArray[Any], label: int) -> bytes:
    """Return the bytes that stand for a record's content: equal exactly when type, shape, pixels and label are.

        "lethe row" ‖ 0 ‖ type name ‖ 0 ‖ edges (1 byte) ‖ each edge (4 bytes) ‖ label index (8 bytes) ‖ pixels

    Numbers are little-endian, pixels in row-major order.
    """
    start = f"lethe row\x00{image.dtype.name}\x00".encode()
    header = struct.pack(f"<B{image.ndim}Iq", image.ndim, *image.shape, label)
    return start + header + image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()


def read_questions(inputs: list[Any], schema: ImageSchema) -> Arrays:
    """Return the arrays of what a predictor was asked about: `images`, float32 in the schema's range.

    Raises:
        BadInput: the inputs are no such numbers; what they are is not repeated.
    """
    try:
        with np.errstate(over="ignore"):
            images = np.asarray(inputs, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise BadInput("inputs are not numbers, or not of one shape") from None
    if images.shape[1:] != schema.image_shape:
        raise BadInput(f"an image of this model has the shape {schema.image_shape}")
    pixels: Any = inputs
    for _ in schema.image_shape:
        pixels = chain.from_iterable(pixels)
    if not set(map(type, pixels)) <= {int, float}:  # NumPy reads texts and truth values as numbers, too
        raise BadInput("inputs are not numbers, or not of one shape")
    if not np.isfinite(images).all() or images.min() < schema.pixel_minimum or images.max() > schema.pixel_maximum:
        raise BadInput(f"pixels lie within {schema.pixel_minimum:g} to {schema.pixel_maximum:g}")
    return {"images": images}


def _images(images: NDArray[Any], schema: ImageSchema, flaws: Flaws) -> NDArray[Any]:
    pixels = images.reshape(len(images), -1)  # (n, pixels)
    lowest, highest = pixels.min(axis=1), pixels.max(axis=1)
    if images.dtype.kind == "f":
        finite = np.isfinite(lowest) & np.isfinite(highest)  # NaN and both infinities come through min or max
        flaws.at("images", ~finite, "not_finite", "a pixel is NaN or infinite")
    else:
        finite = np.ones(len(images), bool)
    outside = (lowest < schema.pixel_minimum) | (highest > schema.pixel_maximum)
    detail = f"a pixel lies outside {schema.pixel_minimum:g}..{schema.pixel_maximum:g}"
    flaws.at("images", finite & outside, "out_of_range", detail)
    if (finite & ~outside).all():
        return images.astype(np.uint8 if images.dtype.kind != "f" and schema.whole_pixels else np.float32, copy=False)
    return images


def _written(shape: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
