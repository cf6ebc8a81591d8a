"""Tables to columns: CSV, JSON lines and Parquet, plain or gzipped, told apart by their first bytes.

A table is read piece by piece, and only the columns that the schema names are kept; what they take is charged to a
budget as they grow. A row that is no row is named by its number, counted from 0 after the header, and nothing of it is
repeated.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets import containers, parquet
from core.datasets.containers import Budget
from core.datasets.flaws import MOST_LISTED
from core.domain.errors import Flaw, RowsRefused, UnreadableFile

Column = NDArray[Any]
PIECE_ROWS = 4096
CELL_BYTES = 16
"""What a string in an array takes, besides its characters."""
_EXACT = 2**53


def read_table(content: bytes, columns: Mapping[str, str], budget: Budget) -> dict[str, Column]:
    """Return by role the columns that a table has; others are not kept.

    Raises:
        RowsRefused: rows are no rows; its flaws say which.
        TooLarge: the table takes more than the budget allows.
        UnreadableFile: the file is no such table, or is broken.
        Impossible: it is a Parquet file, and this installation cannot read those.
    """
    if content.startswith(containers.GZIP):
        content = containers.gunzip(content, "file", budget)
    if content.startswith(parquet.MAGIC):
        return parquet.read_parquet(content, columns, budget)
    if content.startswith((*containers.ZIP, containers.NPY)):
        raise UnreadableFile("a table is sent as CSV, JSON lines or Parquet, and may be gzipped")
    budget.spend(len(content), "file")
    lines = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    return _Gatherer(columns, budget).gathered(_json_rows(text) if lines else _csv_rows(text))


class _Gatherer:
    """Cells of the wanted columns, as arrays that grow piece by piece."""

    def __init__(self, columns: Mapping[str, str], budget: Budget) -> None:
        self.roles = {name: role for role, name in columns.items()}
        self.budget = budget
        self.pieces: dict[str, list[Column]] = {}
        self.flaws: list[Flaw] = []
        self.refused = 0

    def gathered(self, rows: Iterable[Mapping[str, str] | Flaw]) -> dict[str, Column]:
        """Return by role the columns that some row has."""
        waiting: list[Mapping[str, str]] = []
        seen: dict[str, None] = {}
        try:
            for row in rows:
                if isinstance(row, Flaw):
                    self._note(row)
                    continue
                waiting.append(row)
                if len(waiting) == PIECE_ROWS:
                    self._keep(waiting, seen)
                    waiting = []
            self._keep(waiting, seen)
        except UnicodeDecodeError:
            raise UnreadableFile("the file is no UTF-8 text") from None
        if self.refused:
            listed = "" if self.refused <= len(self.flaws) else f"; the first {len(self.flaws)} are listed"
            raise RowsRefused(f"{self.refused} rows cannot be read{listed}", flaws=self.flaws)
        return {self.roles[name]: np.concatenate(self.pieces[name]) for name in seen}

    def _note(self, flaw: Flaw) -> None:
        self.refused += 1
        if len(self.flaws) < MOST_LISTED:
            self.flaws.append(flaw)

    def _keep(self, rows: list[Mapping[str, str]], seen: dict[str, None]) -> None:
        for name in self.roles:
            if name not in seen and any(name in row for row in rows):
                seen[name] = None
        for name in self.roles:
            cells = [row.get(name, "") for row in rows]
            self.budget.spend(CELL_BYTES * len(cells) + sum(map(len, cells)), name)
            self.pieces.setdefault(name, []).append(np.array(cells, dtype=np.dtypes.StringDType()))


def _csv_rows(text: io.TextIOWrapper) -> Iterator[Mapping[str, str] | Flaw]:
    """Yield a table's rows by the names in its first line."""
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
    except csv.Error:
        raise UnreadableFile("the first line of the file is no header of a CSV table") from None
    if not header or len(set(header)) != len(header):
        raise UnreadableFile("the first line of a CSV table names its columns, each once")
    number = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise UnreadableFile(f"row {number} is no CSV: a quote is not closed, or a field is too long") from None
        if not fields:
            continue  # an empty line
        if len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        else:
            yield Flaw(f"row {number}", "wrong_length", f"the header names {len(header)} columns, not {len(fields)}")
        number += 1


def _json_rows(text: io.TextIOWrapper) -> Iterator[Mapping[str, str] | Flaw]:
    """Yield the objects of a file that has one a line."""
    number = 0
    for line in text:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            yield Flaw(f"row {number}", "not_an_object", "the line is no JSON object")
        elif not all(isinstance(cell, str | int | float | None) for cell in row.values()):
            yield Flaw(f"row {number}", "wrong_type", "a value is neither text, number, true, false nor null")
        else:
            yield {name: _as_text(cell) for name, cell in row.items()}
        number += 1


def _as_text(cell: str | float | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return str(int(cell))
    return str(cell)
