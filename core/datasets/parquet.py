"""Parquet to columns, where the extra `parquet` is installed: it brings pyarrow, which the web side does without.

Only the columns that are wanted are read, batch by batch. What the file says about its own size is checked before, and
what the columns really take is charged as they grow: a few bytes can stand for a billion equal cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.containers import Budget
from core.domain.errors import Impossible, UnreadableFile

MAGIC = b"PAR1"
BATCH_ROWS = 4096
CELL_BYTES = 16

Column = NDArray[Any]


def read_parquet(content: bytes, columns: Mapping[str, str], budget: Budget) -> dict[str, Column]:
    """Return by role the columns that the file has; others are not read.

    Raises:
        Impossible: pyarrow is not installed.
        TooLarge: the columns take more than the budget allows.
        UnreadableFile: the file is broken, or a column holds what is no text and no number.
    """
    if find_spec("pyarrow") is None:
        raise Impossible(
            "this installation reads no Parquet: pip install 'lethe[parquet]' where the API runs, or send CSV"
        )
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        present = {role: name for role, name in columns.items() if name in file.schema_arrow.names}
        names = list(present.values())
        budget.spend(CELL_BYTES * file.metadata.num_rows * len(names), "file")
        pieces: dict[str, list[Column]] = {name: [] for name in names}
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names, use_threads=False):
            for name in names:
                pieces[name].append(_cells(batch.column(name), name, budget))
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        # Its message may repeat what the file holds.
        raise UnreadableFile("the file is broken, or a column holds what is no text and no number") from None
    empty = np.array([], dtype=np.dtypes.StringDType())
    return {role: np.concatenate(pieces[name] or [empty]) for role, name in present.items()}


def _cells(column: Any, name: str, budget: Budget) -> Column:
    """Return one column of a batch: floats as they are, all else as text, "" for a gap."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    texts = compute.cast(column, pa.string()).to_pylist()
    cells = ["" if text is None else text for text in texts]
    budget.spend(sum(map(len, cells)), name)
    return np.array(cells, dtype=np.dtypes.StringDType())
