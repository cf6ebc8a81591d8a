"""Files to columns: NPY, NPZ, IDX (plain or gzipped) and plain text, told apart by their first bytes.

Nothing a user sends is ever unpickled, and nothing is inflated before its declared size is known to fit, so neither a
pickle nor a decompression bomb gets anywhere. The bytes are read here, without `numpy.load`: it would allocate what a
header declares before it looks at what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets import containers
from core.datasets.containers import Budget
from core.datasets.schema import ImageSchema, Schema
from core.datasets.tables import read_table
from core.domain.errors import UnreadableFile

WHOLE = "file"
"""The key under which one NPZ with all the columns is sent."""
_NEVER_TEXT = frozenset({"images"})

Column = NDArray[Any]


def read_columns(files: Mapping[str, bytes], *, schema: Schema, limit_bytes: int) -> dict[str, Column]:
    """Return the columns by role; a column that nobody sent is absent, and `validation` says so.

    Args:
        files: under "file" an NPZ whose arrays are named as the schema names its columns; or, under a role (`images`,
            `labels`, `owners`, `record_ids`, `public`), that one column as NPY, NPZ with one array, IDX, or, except for
            images, UTF-8 text with one value per line. Any of them may be gzipped, save an NPZ. Both may be mixed.
            Of a table only "file", as CSV, JSON lines or Parquet; see `tables`.
        schema: what the columns are called.
        limit_bytes: how many bytes all columns together may take once they are unpacked.

    Raises:
        UnsafeFile: an array holds pickled objects.
        TooLarge: the columns take more than the limit.
        UnreadableFile: a file is broken, or something is sent twice or under a name that means nothing.
    """
    budget = Budget(limit_bytes)
    roles = schema.columns()
    if not isinstance(schema, ImageSchema):
        if files.keys() != {WHOLE}:
            raise UnreadableFile("a table is sent whole, as one `file`: CSV, JSON lines or Parquet")
        return read_table(files[WHOLE], roles, budget)
    if not files.keys() <= {WHOLE, *roles}:
        raise UnreadableFile(f"a file is sent under a name that is none of {_listed([WHOLE, *roles])}")
    columns = containers.npz_members(files[WHOLE], roles, budget) if WHOLE in files else {}
    for role in files.keys() - {WHOLE}:
        if role in columns:
            raise UnreadableFile(f"column {roles[role]} is sent twice, in the NPZ and on its own")
        columns[role] = _read_column(files[role], role, roles[role], budget)
    return columns


def _read_column(content: bytes, role: str, name: str, budget: Budget) -> Column:
    inflated = containers.gunzip(content, name, budget) if content.startswith(containers.GZIP) else content
    for magics, read in _FORMATS:
        if inflated.startswith(magics):
            return read(inflated, name, budget)
    if role in _NEVER_TEXT:
        raise UnreadableFile(f"column {name} is neither NPY nor NPZ nor IDX")
    return _read_lines(inflated, name, budget)


def _read_lines(content: bytes, name: str, budget: Budget) -> Column:
    budget.spend(len(content), name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"column {name} is no UTF-8 text: byte {error.start} fits no character") from None
    if "\x00" in text:
        raise UnreadableFile(f"column {name} is neither text nor NPY, NPZ or IDX")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":  # the last line ends with a line feed, too
        lines.pop()
    # Strings of their own length each: as an array of equally long ones, one long line would make all of them long.
    return np.array(lines, dtype=np.dtypes.StringDType())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


_FORMATS: tuple[tuple[tuple[bytes, ...], Callable[[bytes, str, Budget], Column]], ...] = (
    ((containers.NPY,), containers.read_npy),
    (containers.ZIP, containers.read_single_npz),
    (containers.IDX, containers.read_idx),
)
