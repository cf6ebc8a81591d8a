"""Columns to rows: every way in which rows can break their schema, found in one pass and named by row and column.

Rows are counted from 0, as in the arrays. A flaw says where and what is wrong, never what was sent: a value may be a
person's identity. All rows are checked before anything is refused; the first hundred flaws are listed, all are counted.

Nothing here depends on other rows except that record ids must differ: how a row is kept follows from its own values
and the schema alone, so a deletion changes no other row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.schema import ImageSchema
from core.datasets.texts import as_texts, is_text
from core.domain.errors import Flaw, RowsRefused

MOST_LISTED = 100
_FLAGS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}

Columns = Mapping[str, NDArray[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that keep their schema; n of them, in the order they were sent."""

    images: NDArray[Any]
    """(n, *image_shape) uint8 when they came as integers and the schema's range fits a byte, float32 otherwise."""
    labels: NDArray[np.int64]
    """(n,) index of each row's label in the schema."""
    owners: list[str]
    """Trimmed; "" on a public row that has none."""
    record_ids: list[str]
    """Trimmed, each once."""
    public: Mask
    """(n,) whether a backbone may be pre-trained on the row."""


class _Flaws:
    """What was found so far: all of it counted, some of it spelled out."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.counts: Counter[str] = Counter()
        self.listed: list[tuple[int, Flaw]] = []

    def whole(self, role: str, code: str, detail: str) -> None:
        """Note a flaw of a whole column."""
        self.counts[code] += 1
        self.listed.append((-1, Flaw(f"column {self.names[role]}", code, detail)))

    def at(self, role: str, mask: Mask, code: str, detail: str) -> None:
        """Note the same flaw on every row where the (n,) mask is true."""
        found = np.flatnonzero(mask)
        if not len(found):
            return
        self.counts[code] += len(found)
        for row in found[:MOST_LISTED].tolist():
            self.listed.append((row, Flaw(f"row {row}, column {self.names[role]}", code, detail)))

    def refuse_if_any(self) -> None:
        if not self.counts:
            return
        kinds = ", ".join(f"{count} {code}" for code, count in sorted(self.counts.items()))
        listed = [flaw for _, flaw in sorted(self.listed, key=lambda found: found[0])[:MOST_LISTED]]
        total = self.counts.total()
        more = f"; the first {len(listed)} are listed" if total > len(listed) else ""
        raise RowsRefused(f"{total} flaws were found: {kinds}{more}", flaws=listed)


def validate(columns: Columns, schema: ImageSchema) -> Rows:
    """Return the rows that these columns make up.

    Args:
        columns: by role, as `readers.read_columns` returns them.
        schema: what they must look like.

    Raises:
        RowsRefused: something breaks the schema; its flaws say what, where, and how often.
    """
    flaws = _Flaws(schema.columns())
    columns = {role: column for role, column in columns.items() if role in flaws.names}
    _check_columns(columns, schema, flaws)
    flaws.refuse_if_any()  # rows can be told apart only when every column has as many
    public = _flags(columns, flaws)
    rows = Rows(
        images=_images(columns["images"], schema, flaws),
        labels=_labels(columns["labels"], schema, flaws),
        owners=_owners(columns["owners"], public, flaws),
        record_ids=_record_ids(columns["record_ids"], flaws),
        public=public,
    )
    flaws.refuse_if_any()
    return rows


def _check_columns(columns: Columns, schema: ImageSchema, flaws: _Flaws) -> None:
    for role in flaws.names.keys() - columns.keys():
        flaws.whole(role, "missing_column", "the column is missing")
    for role, column in sorted(columns.items()):
        shape = schema.image_shape if role == "images" else ()
        if role == "images" and column.dtype.kind not in "buif":
            flaws.whole(role, "wrong_type", "images must be numbers")
        elif role == "public" and not (column.dtype.kind == "b" or is_text(column)):
            flaws.whole(role, "wrong_type", "the column must hold true and false, or 1 and 0")
        elif role in ("labels", "owners", "record_ids") and not is_text(column):
            flaws.whole(role, "wrong_type", "the column must hold strings or integers")
        elif column.ndim == 0 or column.shape[1:] != shape:
            expected = ("n", *shape)
            flaws.whole(role, "wrong_shape", f"the shape must be {_written(expected)}, got {_written(column.shape)}")
    _check_lengths(columns, flaws)


def _check_lengths(columns: Columns, flaws: _Flaws) -> None:
    lengths = {role: len(column) for role, column in columns.items() if column.ndim}
    if not lengths:
        return
    reference = "images" if "images" in lengths else min(lengths)
    for role, length in sorted(lengths.items()):
        if length != lengths[reference]:
            names = flaws.names
            detail = f"the column has {length} rows and column {names[reference]} has {lengths[reference]}"
            flaws.whole(role, "length_mismatch", detail)
    if not lengths[reference]:
        flaws.whole(reference, "no_rows", "the column has no rows")


def _images(images: NDArray[Any], schema: ImageSchema, flaws: _Flaws) -> NDArray[Any]:
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


def _labels(column: NDArray[Any], schema: ImageSchema, flaws: _Flaws) -> NDArray[np.int64]:
    texts, _ = as_texts(column)  # what cannot be read is no label either
    index = {label: number for number, label in enumerate(schema.labels)}
    labels = np.array([index.get(text, -1) for text in texts], np.int64)
    flaws.at("labels", labels < 0, "unknown_label", "the label is none of the schema's")
    return labels


def _owners(column: NDArray[Any], public: Mask, flaws: _Flaws) -> list[str]:
    owners, unreadable = as_texts(column)
    flaws.at("owners", unreadable, "unreadable_value", "the value is neither text nor an exact whole number")
    missing = np.array([not owner for owner in owners], bool) & ~unreadable & ~public
    flaws.at("owners", missing, "missing_owner", "a row that is not public must have an owner")
    return owners


def _record_ids(column: NDArray[Any], flaws: _Flaws) -> list[str]:
    record_ids, unreadable = as_texts(column)
    flaws.at("record_ids", unreadable, "unreadable_value", "the value is neither text nor an exact whole number")
    missing = np.array([not record_id for record_id in record_ids], bool) & ~unreadable
    flaws.at("record_ids", missing, "missing_record_id", "every row must have a record id")
    for number, (row, first) in enumerate(_repeated(record_ids)):
        flaws.counts["duplicate_record_id"] += 1
        if number < MOST_LISTED:
            pointer = f"row {row}, column {flaws.names['record_ids']}"
            flaws.listed.append((row, Flaw(pointer, "duplicate_record_id", f"row {first} has the same record id")))
    return record_ids


def _repeated(record_ids: list[str]) -> Iterator[tuple[int, int]]:
    """Yield (row, the first row with the same id) for every row but the first of each id; gaps do not count."""
    first_rows: dict[str, int] = {}
    for row, record_id in enumerate(record_ids):
        first = first_rows.setdefault(record_id, row)
        if record_id and first != row:
            yield row, first


def _flags(columns: Columns, flaws: _Flaws) -> Mask:
    if "public" not in columns:
        return np.zeros(len(columns["images"]), bool)
    column = columns["public"]
    if column.dtype.kind == "b":
        return np.asarray(column)
    found = [_FLAGS.get(text) for text in as_texts(column)[0]]
    unclear = np.array([flag is None for flag in found], bool)
    flaws.at("public", unclear, "not_a_flag", "the value is neither true nor false")
    return np.array([bool(flag) for flag in found], bool)


def _written(shape: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
