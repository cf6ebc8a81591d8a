"""The small world's owners once more, with rows of a table: a label or a number to predict, and public rows or none."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from core.datasets.schema import TabularSchema
from core.datasets.tabular_schema import CategoricalColumn, LabelTarget, NumberTarget, NumericColumn
from core.use_cases.doors import Doors
from core.use_cases.register_dataset import register_dataset
from tests.integration import world

FEATURES = (
    NumericColumn(name="age", minimum=0, maximum=120),
    CategoricalColumn(name="sex", categories=("f", "m")),
    NumericColumn(name="pressure", minimum=40, maximum=240, optional=True),
)
TARGETS: dict[str, LabelTarget | NumberTarget] = {
    "label": LabelTarget(column="outcome", labels=("well", "ill")),
    "number": NumberTarget(column="score", minimum=0, maximum=200),
}
QUESTION: dict[str, Any] = {"age": 61, "sex": "f", "pressure": None}


def make_schema(target: str = "label", *, public: bool = True) -> TabularSchema:
    return TabularSchema(
        features=FEATURES,
        target=TARGETS[target],
        owner_identity_type="email",
        owners_column="patient",
        record_ids_column="visit",
        public_column="public" if public else None,
    )


def table(*, without: Sequence[int] = (), public: bool = True) -> bytes:
    """Return a CSV of the world's rows, leaving out some owners as if they had never been there."""
    rows = [_row(f"public-{n}", "", n, public=True) for n in range(world.PUBLIC if public else 0)]
    rows += [
        _row(f"row-{owner}-{n}", world.address(owner), 1000 + 100 * owner + n, public=False)
        for owner in range(world.OWNERS)
        if owner not in without
        for n in range(world.ROWS_EACH)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _row(visit: str, patient: str, seed: int, *, public: bool) -> dict[str, Any]:
    age = seed * 7 % 90
    pressure = "" if seed % 5 == 0 else 80 + age
    outcome, score = ("ill" if age > 45 else "well"), 2 * age
    known = {"visit": visit, "patient": patient, "age": age, "sex": "fm"[seed % 2], "pressure": pressure}
    return {**known, "outcome": outcome, "score": score, "public": public, "note": "read by nobody"}


def add_dataset(doors: Doors, target: str = "label", *, public: bool = True, without: Sequence[int] = ()) -> None:
    files = {"file": table(without=without, public=public)}
    schema = make_schema(target, public=public)
    register_dataset("patients", schema, files, caller=world.ADMIN, once=world.NOTHING, doors=doors)
