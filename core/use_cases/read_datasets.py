"""Show data sets, by reference and count: no identity is known here that could be shown."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from core.datasets.contract import Kind
from core.domain.access import Caller, Scope
from core.domain.errors import DatasetNotFound
from core.persistence import datasets
from core.use_cases.doors import Doors
from core.use_cases.wording import moment, page, read_cursor


def read_datasets(*, caller: Caller, doors: Doors, limit: int, cursor: str | None) -> dict[str, Any]:
    """Return a page of data sets, newest first."""
    caller.require(Scope.DATASETS_READ)
    before = read_cursor(cursor, of="datasets")
    with doors.database.transaction() as session:
        rows = datasets.page_of_datasets(session, caller.tenant_id, limit=limit + 1, before=before)
    return page([describe_dataset(row) for row in rows], of="datasets", limit=limit)


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


def read_dataset_versions(
    dataset: str, *, caller: Caller, doors: Doors, limit: int, cursor: str | None
) -> dict[str, Any]:
    """Return a page of what came with each version of a data set, newest first.

    Raises:
        DatasetNotFound: the tenant has none such.
    """
    caller.require(Scope.DATASETS_READ)
    filters = {"dataset": dataset}
    before = read_cursor(cursor, of="dataset versions", filters=filters, kind=int)
    with doors.database.transaction() as session:
        row = datasets.find_dataset(session, caller.tenant_id, dataset)
        if row is None:
            raise DatasetNotFound
        found = datasets.page_of_versions(session, row.id, limit=limit + 1, before=before)
    shown = [describe_version(one) for one in found]
    return page(shown, of="dataset versions", limit=limit, key="number", filters=filters)


def describe_version(row: Row[Any]) -> dict[str, Any]:
    """Return one version of a data set as the API shows it."""
    return {
        "object": "dataset_version",
        "dataset": row.dataset_id,
        "number": row.number,
        "records": row.records,
        "owners": row.owners,
        "new_owners": row.new_owners,
        "copies_under_other_owners": row.copies,
        "created_at": moment(row.created_at),
    }


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
        "version": row.version,
        "created_at": moment(row.created_at),
    }
