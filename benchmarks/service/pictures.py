"""Small made-up pictures of many owners, for benchmarks that train for real: who is in them does not matter, how many does."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from core.datasets.schema import ImageSchema

SCHEMA = ImageSchema(image_shape=(8, 8), labels=("a", "b", "c"), owner_identity_type="email", public_column="public")
PUBLIC = 240


def address(owner: int, *, world: str = "person") -> str:
    return f"{world}-{owner}@example.org"


def packed(owners: int, rows_each: int, *, world: str = "person") -> bytes:
    """Return an NPZ of PUBLIC public rows and `rows_each` rows of each owner; the class is the rows that are bright."""
    count = PUBLIC + owners * rows_each
    chance = np.random.default_rng(7)
    labels = np.arange(count) % 3
    images = chance.integers(0, 120, (count, 8, 8), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 120
    numbers = [(row - PUBLIC) // rows_each for row in range(count)]
    columns: dict[str, Any] = {
        "images": images,
        "labels": np.array(SCHEMA.labels)[labels],
        "owners": np.array(["" if number < 0 else address(number, world=world) for number in numbers]),
        "record_ids": np.array([f"{world}-row-{row}" for row in range(count)]),
        "public": np.arange(count) < PUBLIC,
    }
    content = io.BytesIO()
    np.savez_compressed(content, **columns)
    return content.getvalue()
