"""Tables for the demo, from scikit-learn: tumours to tell apart, and a disease's progress to estimate.

Ranges are declared as what is possible, in round numbers: a contract never follows from the rows.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cli.demo_data import IDENTITY_TYPE, DemoData, divided
from core.domain.task import TaskName

OWNERS = 48
TUMOUR_MEASURES = {
    "radius": (40, 10, 50),
    "texture": (60, 10, 80),
    "perimeter": (300, 50, 350),
    "area": (4000, 1000, 6000),
    "smoothness": (0.3, 0.05, 0.4),
    "compactness": (0.6, 0.2, 1.5),
    "concavity": (0.6, 0.6, 2),
    "concave points": (0.3, 0.1, 0.5),
    "symmetry": (0.5, 0.1, 1),
    "fractal dimension": (0.2, 0.05, 0.4),
}
"""Ten measures of the cells of a tumour: the most that their mean, its error and their worst can be; none is below 0."""
DIABETES_RANGES = {
    "age": (0, 120),
    "bmi": (10, 60),
    "bp": (40, 180),
    "s1": (50, 400),
    "s2": (20, 300),
    "s3": (10, 150),
    "s4": (1, 15),
    "s5": (2, 8),
    "s6": (40, 200),
}
"""Age, body mass index, blood pressure and six measures of the blood serum."""
SEXES = ["1", "2"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows as scikit-learn has them, before any rule."""

    name: str
    columns: list[dict[str, Any]]
    """As a contract lists its features."""
    cells: list[list[Any]]
    answers: list[Any]
    owners: list[str] | None = None
    record_ids: list[str] | None = None
    public: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class TableData(DemoData):
    """Rows of a table and the label of each."""

    columns: list[dict[str, Any]]
    target: dict[str, Any]
    cells: list[list[Any]]
    held_out_cells: list[list[Any]]

    @property
    def names(self) -> list[str]:
        return [column["name"] for column in self.columns]

    def file(self) -> bytes:
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(["record_ids", "owners", "public", *self.names, self.target["column"]])
        rows = zip(self.record_ids, self.owners, self.public.tolist(), self.cells, self.answers, strict=True)
        table.writerows([record, owner, public, *cells, answer] for record, owner, public, cells, answer in rows)
        return text.getvalue().encode()

    def schema(self) -> dict[str, Any]:
        return {
            "kind": "tabular",
            "features": self.columns,
            "target": self.target,
            "owner_identity_type": IDENTITY_TYPE,
            "public_column": "public",
        }

    def questions(self, start: int, stop: int) -> list[Any]:
        return [dict(zip(self.names, cells, strict=True)) for cells in self.held_out_cells[start:stop]]

    @property
    def numbers_each(self) -> int:
        return len(self.columns)


@dataclass(frozen=True, kw_only=True)
class NumberData(TableData):
    """Rows of a table and the number that belongs to each."""

    task: ClassVar[TaskName] = TaskName.REGRESSION


def tumours(run: str = "") -> TableData:
    """Return scikit-learn's breast cancer table, divided among 48 owners.

    Args:
        run: a word put into every owner's name, so that a second run on one service deletes other people.
    """
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    most = {f"mean {name}": ends[0] for name, ends in TUMOUR_MEASURES.items()}
    most |= {f"{name} error": ends[1] for name, ends in TUMOUR_MEASURES.items()}
    most |= {f"worst {name}": ends[2] for name, ends in TUMOUR_MEASURES.items()}
    words = [str(word) for word in loaded.target_names]
    table = Table(
        name="scikit-learn's breast cancer table",
        columns=[{"name": str(name), "minimum": 0, "maximum": most[name]} for name in loaded.feature_names],
        cells=loaded.data.tolist(),
        answers=[words[label] for label in loaded.target],
    )
    target = {"column": "diagnosis", "labels": words}
    parts = divided(table, public_rows=None, invented=OWNERS, word=f"patient-{run}")
    return TableData(**parts.told(table), target=target, **_cells(table, parts.kept, parts.held_out))


def diabetes(run: str = "") -> NumberData:
    """Return scikit-learn's diabetes table, divided among 48 owners; see `tumours`."""
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(scaled=False)
    ranges = {name: {"minimum": low, "maximum": high} for name, (low, high) in DIABETES_RANGES.items()}
    columns = [{"name": name, **ranges.get(name, {"categories": SEXES})} for name in loaded.feature_names]
    sex = list(loaded.feature_names).index("sex")
    table = Table(
        name="scikit-learn's diabetes table",
        columns=columns,
        cells=[[str(int(cell)) if at == sex else cell for at, cell in enumerate(row)] for row in loaded.data.tolist()],
        answers=loaded.target.tolist(),
    )
    target = {"column": "progression", "minimum": 0, "maximum": 400}
    parts = divided(table, public_rows=None, invented=OWNERS, word=f"patient-{run}")
    return NumberData(**parts.told(table), target=target, **_cells(table, parts.kept, parts.held_out))


def _cells(table: Table, kept: NDArray[np.int64], held_out: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "columns": table.columns,
        "cells": [table.cells[row] for row in kept],
        "held_out_cells": [table.cells[row] for row in held_out],
    }
