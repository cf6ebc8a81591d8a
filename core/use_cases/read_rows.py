"""Fetch and open the rows that a training job needs. Torch-free; whatever was deleted is simply not there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row

from core.datasets import kinds
from core.datasets.blocks import BlockRows, decode_block
from core.datasets.kinds import Arrays
from core.datasets.schema import Schema
from core.use_cases.doors import Doors
from core.use_cases.erase_blocks import read_block


@dataclass(frozen=True)
class PlainRows:
    """Opened rows, in memory only."""

    records: NDArray[np.uint8]
    """(n, 32)"""
    contents: NDArray[np.uint8]
    """(n, 32)"""
    arrays: Arrays
    """By name, (n, …) each; see `core.datasets.kinds`."""
    key_ids: Sequence[str] = ()
    """(n,) the key of the block that each row lies in."""

    def __len__(self) -> int:
        return len(self.records)


def read_rows(
    doors: Doors, blocks: Sequence[Row[Any]], *, schema: Schema, keep: Collection[bytes] | None = None
) -> PlainRows:
    """Open blocks and return their rows; with `keep`, only the records of these references.

    Raises:
        KeyDestroyed: a block was erased since it was looked up; a deletion overtook the caller.
    """
    opened = [decode_block(read_block(doors, block)) for block in blocks]
    if not opened:
        empty = np.empty((0, 32), np.uint8)
        return PlainRows(empty, empty, kinds.no_arrays(schema))
    return PlainRows(
        records=np.concatenate([_kept(rows, keep, rows.record_references) for rows in opened]),
        contents=np.concatenate([_kept(rows, keep, rows.content_references) for rows in opened]),
        arrays={
            name: np.concatenate([_kept(rows, keep, rows.arrays[name]) for rows in opened]) for name in opened[0].arrays
        },
        key_ids=[
            block.key_id
            for block, rows in zip(blocks, opened, strict=True)
            for _ in _kept(rows, keep, rows.record_references)
        ],
    )


def _kept(rows: BlockRows, keep: Collection[bytes] | None, column: NDArray[Any]) -> NDArray[Any]:
    if keep is None:
        return column
    return column[[reference.tobytes() in keep for reference in rows.record_references]]
