"""How the demo's rows are divided, and what is refused before anything is started."""

from __future__ import annotations

import gzip
import io
import struct
from typing import Any

import numpy as np
import pytest

from cli.demo_arrays import Arrays, read_arrays
from cli.demo_data import check_size, chosen_owners, digits, divide
from cli.output import CommandFailed
from core.datasets.readers import read_columns
from core.datasets.schema import ImageSchema
from core.datasets.validation import validate

COLUMNS = {name: name for name in ("images", "labels", "owners", "record_ids", "public")}
ANY_RANGE = (None, None)


def make_arrays(count: int = 36, **changed: object) -> Arrays:
    values: dict[str, object] = {
        "name": "test",
        "images": np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2),
        "labels": [str(row % 3) for row in range(count)],
        "owners": [f"owner-{row % 5}" for row in range(count)],
        "pixels": (0.0, 255.0),
    }
    return Arrays(**{**values, **changed})  # type: ignore[arg-type]


def packed(**columns: Any) -> dict[str, bytes]:
    content = io.BytesIO()
    np.savez(content, **columns)
    return {"file": content.getvalue()}


def test_the_digits_have_seventy_two_owners_and_the_service_takes_them_as_they_are() -> None:
    data = digits()
    schema = ImageSchema.from_json(data.schema())
    rows = validate(read_columns({"file": data.file()}, schema=schema, limit_bytes=1 << 30), schema)
    assert data.private_owners == len(data.deletable) == 72
    assert len(rows.record_ids) + len(data.held_out_answers) == 1797
    assert rows.public.sum() == 500
    assert data.record_ids[0] == "row-1"


def test_owners_of_the_digits_are_blocks_of_consecutive_rows() -> None:
    data = digits()
    private = [owner for owner in data.owners if owner]
    assert private == sorted(private)


def test_a_second_run_on_one_service_has_other_people() -> None:
    assert not set(digits("a1").deletable) & set(digits("b2").deletable)


def test_every_sixth_row_is_held_out_and_never_uploaded() -> None:
    data = divide(make_arrays(), word="owner-")
    assert [int(image[0, 0]) // 4 for image in data.held_out_images] == [0, 6, 12, 18, 24, 30]
    assert not {"row-0", "row-6", "row-30"} & set(data.record_ids)


def test_without_a_column_the_first_third_is_public_and_belongs_to_nobody() -> None:
    data = divide(make_arrays(), word="owner-")
    assert data.public.tolist() == [True] * 10 + [False] * 20
    assert set(data.owners[:10]) == {""}
    assert data.deletable == [f"owner-{number}" for number in range(5)]


def test_a_public_part_that_misses_labels_is_said_to() -> None:
    data = divide(make_arrays(labels=["a"] * 18 + ["b"] * 18), word="owner-")
    assert any("only 1 of 2 labels" in rule for rule in data.rules)


def test_an_owner_with_a_public_row_of_their_own_is_not_chosen_for_deletion() -> None:
    flags = np.array([row == 1 for row in range(36)])
    data = divide(make_arrays(public=flags), word="owner-")
    assert "owner-1" not in data.deletable
    assert data.private_owners == 5


def test_rows_without_owners_are_divided_only_when_asked_to() -> None:
    with pytest.raises(CommandFailed, match="--invent-owners"):
        divide(make_arrays(owners=None), word="owner-")
    assert len(divide(make_arrays(owners=None), invented=7, word="owner-").deletable) == 7


def test_labels_that_are_numbers_are_ordered_as_numbers() -> None:
    data = divide(make_arrays(labels=[str(row % 11) for row in range(36)]), word="owner-")
    assert data.classes == [str(number) for number in range(11)]


def test_columns_may_have_other_names() -> None:
    rows = {"pictures": np.ones((4, 2, 2), np.uint8), "class": np.arange(4), "who": np.array(["a", "b", "c", "d"])}
    names = COLUMNS | {"images": "pictures", "labels": "class", "owners": "who"}
    arrays = read_arrays(packed(**rows), names, name="x", pixels=ANY_RANGE, rows=3)
    assert arrays.labels == ["0", "1", "2"]
    assert arrays.owners == ["a", "b", "c"]
    assert arrays.record_ids is None


def test_gzipped_idx_files_are_read_a_column_each() -> None:
    images = gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 2, 2) + bytes(8))
    labels = gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 2) + bytes([3, 4]))
    arrays = read_arrays({"images": images, "labels": labels}, COLUMNS, name="x", pixels=ANY_RANGE, rows=None)
    assert arrays.images.shape == (2, 2, 2)
    assert arrays.labels == ["3", "4"]
    assert arrays.owners is None


def test_a_missing_column_is_named_with_the_option_that_helps() -> None:
    with pytest.raises(CommandFailed, match="--labels-column"):
        read_arrays(packed(images=np.ones((2, 2, 2))), COLUMNS, name="x", pixels=ANY_RANGE, rows=None)


def test_columns_of_different_length_are_refused() -> None:
    rows = packed(images=np.ones((2, 2, 2), np.uint8), labels=np.arange(3))
    with pytest.raises(CommandFailed, match="images 2, labels 3"):
        read_arrays(rows, COLUMNS, name="x", pixels=ANY_RANGE, rows=None)


@pytest.mark.parametrize(("highest", "expected"), [(1.0, (0.0, 1.0)), (2.0, (0.0, 255.0))])
def test_the_range_of_pixels_is_a_byte_or_one_unless_said(highest: float, expected: tuple[float, float]) -> None:
    rows = packed(images=np.full((2, 2, 2), highest), labels=np.arange(2))
    assert read_arrays(rows, COLUMNS, name="x", pixels=ANY_RANGE, rows=None).pixels == expected


def test_pixels_of_an_unusual_range_need_it_said() -> None:
    rows = packed(images=np.full((2, 2, 2), -1.0), labels=np.arange(2))
    with pytest.raises(CommandFailed, match="--pixel-minimum"):
        read_arrays(rows, COLUMNS, name="x", pixels=ANY_RANGE, rows=None)
    assert read_arrays(rows, COLUMNS, name="x", pixels=(-1.0, 1.0), rows=None).pixels == (-1.0, 1.0)


def test_too_few_owners_are_told_which_lattice_they_fill() -> None:
    data = divide(make_arrays(), word="owner-")
    with pytest.raises(CommandFailed, match=r"5 owners are too few .* try --shards 1 --slices 1"):
        check_size(data, shards=3, slices=4, deletions=1)
    check_size(data, shards=1, slices=1, deletions=5)


def test_more_deletions_than_owners_are_refused() -> None:
    with pytest.raises(CommandFailed, match=r"1\.\.5"):
        check_size(divide(make_arrays(), word="owner-"), shards=1, slices=1, deletions=6)


def test_data_without_public_rows_are_refused() -> None:
    data = divide(make_arrays(public=np.zeros(36, bool)), word="owner-")
    with pytest.raises(CommandFailed, match="no row is public"):
        check_size(data, shards=1, slices=1, deletions=1)


def test_chosen_owners_are_spread_over_all_of_them() -> None:
    assert chosen_owners(list("abcdefghij"), 3) == ["a", "d", "g"]
    assert chosen_owners(list("abc"), 3) == ["a", "b", "c"]
