"""How many rows of a data set a checkpoint's method will go through: counted in the database, nothing is opened."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row

from core.persistence import datasets


def count_rows(
    session: Connection, model: Row[Any], *, drop: Collection[bytes] = (), dataset_id: str | None = None
) -> int:
    """Return how many rows are there, without those named.

    Args:
        session: any transaction.
        model: whose data set is counted, unless another is named.
        drop: references of records that do not count.
        dataset_id: another data set.
    """
    version = None if dataset_id is not None else model.dataset_version
    return datasets.count_living(session, dataset_id or model.dataset_id, but=drop, version=version)
