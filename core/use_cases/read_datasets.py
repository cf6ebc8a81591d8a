"""Show data sets, by reference and count: no identity is known here that could be shown."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.datasets.contract import Kind
from core.domain.access import Caller, Scope
from core.domain.errors import DatasetNotFound
from core.persistence import datasets
from core.use_cases.doors import Doors
from core.use_cases.wording import moment


def read_datasets(*, caller: Caller, doors: Doors) -> list[dict[str, Any]]:
    caller.require(Scope.DATASETS_READ)
    with doors.database.transaction() as session:
        return [describe_dataset(row) for row in datasets.list_datasets(session, caller.tenant_id)]


def read_dataset(dataset: str, *, caller: Caller, doors: Doors) -> dict[str, Any]:
    """Return one data set, by id or name.

    Raises:
        DatasetNotFound: the tenant has none such.
    """
    caller.require(Scope.DATASETS_READ)
    with doors.database.transaction() as session:
        row = datasets.find_dataset(session, caller.tenant_id, dataset)
    if row is None:
        raise DatasetNotFound
    return describe_dataset(row)


def describe_dataset(row: Row[Any] | None) -> dict[str, Any]:
    """Return a data set as the API shows it."""
    if row is None:
        raise DatasetNotFound
    return {
        "id": row.id,
        "object": "dataset",
        "name": row.name,
        "schema": {"kind": Kind.IMAGE, **row.schema},
        "records": row.records,
        "public_records": row.public_records,
        "owners": row.owners,
        "copies_under_other_owners": row.copies,
        "created_at": moment(row.created_at),
    }
