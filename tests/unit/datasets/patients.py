"""A small table for tests: two numbers, one of them optional, two columns of words, and something to predict."""

from __future__ import annotations

from typing import Any

from core.datasets.tabular_schema import CategoricalColumn, LabelTarget, NumberTarget, NumericColumn, TabularSchema

FEATURES = (
    NumericColumn(name="age", minimum=0, maximum=120),
    CategoricalColumn(name="sex", categories=("f", "m")),
    NumericColumn(name="pressure", minimum=40, maximum=240, optional=True),
    CategoricalColumn(name="smokes", categories=("never", "once", "daily"), optional=True),
)
OUTCOME = LabelTarget(column="outcome", labels=("well", "ill"))
SCORE = NumberTarget(column="score", minimum=0, maximum=50)


def make_schema(**changes: Any) -> TabularSchema:
    plain: dict[str, Any] = {
        "features": FEATURES,
        "target": OUTCOME,
        "owner_identity_type": "email",
        "owners_column": "patient",
        "record_ids_column": "visit",
        "public_column": "public",
    }
    return TabularSchema(**{**plain, **changes})


ROWS: tuple[dict[str, Any], ...] = (
    {"visit": 1, "patient": "a@x.org", "age": 61, "sex": "f", "pressure": 120.5, "smokes": "once", "outcome": "ill"},
    {"visit": 2, "patient": "b@x.org", "age": 7, "sex": "m", "pressure": None, "smokes": None, "outcome": "well"},
    {"visit": 3, "patient": "", "age": 30, "sex": "m", "pressure": 88, "smokes": "daily", "outcome": "well"},
)


def make_rows(**changes: dict[int, Any]) -> list[dict[str, Any]]:
    """Return the rows, each with its flag; `changes` says by column which rows have another value."""
    rows = [{**row, "public": number == 2, "score": 10 * number} for number, row in enumerate(ROWS)]
    for column, values in changes.items():
        for number, value in values.items():
            rows[number][column] = value
    return rows
