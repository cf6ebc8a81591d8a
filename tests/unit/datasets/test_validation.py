from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.datasets.schema import ImageSchema
from core.datasets.validation import Rows, validate
from core.domain.errors import Flaw, RowsRefused

Columns = dict[str, NDArray[Any]]


def make_schema(**changes: Any) -> ImageSchema:
    plain: dict[str, Any] = {
        "image_shape": (2, 3),
        "labels": ("0", "1", "cat"),
        "owner_identity_type": "email",
        "public_column": "public",
    }
    return ImageSchema(**{**plain, **changes})


SCHEMA = make_schema()


def make_columns(count: int = 4, **changes: Any) -> Columns:
    plain: Columns = {
        "images": np.zeros((count, 2, 3), np.uint8),
        "labels": np.zeros(count, np.int64),
        "owners": np.array([f"owner{row}@x.org" for row in range(count)]),
        "record_ids": np.array([f"record{row}" for row in range(count)]),
        "public": np.zeros(count, bool),
    }
    changed = {role: np.asarray(column) for role, column in changes.items() if column is not None}
    return {role: column for role, column in (plain | changed).items() if changes.get(role, ...) is not None}


def refusal(columns: Columns, schema: ImageSchema = SCHEMA) -> RowsRefused:
    with pytest.raises(RowsRefused) as caught:
        validate(columns, schema)
    return caught.value


def pointers(columns: Columns, schema: ImageSchema = SCHEMA) -> list[tuple[str, str]]:
    return [(flaw.pointer, flaw.code) for flaw in refusal(columns, schema).flaws]


def test_good_rows_come_back_typed() -> None:
    rows = validate(make_columns(labels=["cat", "0", "1", " cat "], public=[True, False, False, False]), SCHEMA)
    assert isinstance(rows, Rows)
    assert rows.arrays["images"].dtype == np.uint8
    assert rows.arrays["labels"].tolist() == [2, 0, 1, 2]
    assert rows.owners[0] == "owner0@x.org"
    assert rows.record_ids == ["record0", "record1", "record2", "record3"]
    assert rows.public.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("images", "changes", "kept"),
    [
        (np.full((1, 2, 3), 7, np.int64), {}, np.uint8),
        (np.full((1, 2, 3), 7, ">i2"), {}, np.uint8),
        (np.full((1, 2, 3), 1, bool), {}, np.uint8),
        (np.full((1, 2, 3), 7, np.int64), {"pixel_minimum": -1.0}, np.float32),
        (np.full((1, 2, 3), 7, np.int64), {"pixel_maximum": 65535.0}, np.float32),
        (np.full((1, 2, 3), 7.0, np.float64), {}, np.float32),
    ],
)
def test_how_pixels_are_kept_follows_from_their_type_and_the_schema(
    images: NDArray[Any], changes: dict[str, Any], kept: type
) -> None:
    rows = validate(make_columns(1, images=images), make_schema(**changes))
    assert rows.arrays["images"].dtype == np.dtype(kept)
    assert np.array_equal(rows.arrays["images"], images)


@pytest.mark.parametrize(
    "labels", [np.array([0, 1], np.uint8), np.array([0.0, 1.0]), np.array([b"0", b"1"]), np.array(["0", "1"])]
)
def test_labels_match_as_text_whatever_their_type(labels: NDArray[Any]) -> None:
    assert validate(make_columns(2, labels=labels), SCHEMA).arrays["labels"].tolist() == [0, 1]


def test_owners_may_be_numbers_with_gaps_on_public_rows() -> None:
    rows = validate(make_columns(3, owners=[17.0, np.nan, 4.0], public=[False, True, True]), SCHEMA)
    assert rows.owners == ["17", "", "4"]


def test_without_a_public_column_every_row_is_private() -> None:
    schema = make_schema(public_column=None)
    assert validate(make_columns(public=None), schema).public.tolist() == [False] * 4


@pytest.mark.parametrize("public", [[1, 0], ["true", "false"], [b"1", b"0"], ["True", "False"], [1.0, 0.0]])
def test_flags_may_be_spelled_as_tools_spell_them(public: list[Any]) -> None:
    assert validate(make_columns(2, public=public), SCHEMA).public.tolist() == [True, False]


def test_a_repeated_record_id_names_both_rows() -> None:
    error = refusal(make_columns(record_ids=["a", "b", "a ", "a"]))
    assert error.flaws == (
        Flaw("row 2, column record_ids", "duplicate_record_id", "row 0 has the same record id"),
        Flaw("row 3, column record_ids", "duplicate_record_id", "row 0 has the same record id"),
    )


@pytest.mark.parametrize("gap", ["", "  ", "nan", "None", "<NA>"])
def test_a_private_row_must_have_an_owner(gap: str) -> None:
    assert pointers(make_columns(2, owners=["a", gap])) == [("row 1, column owners", "missing_owner")]


def test_every_row_must_have_a_record_id() -> None:
    assert pointers(make_columns(3, record_ids=["a", "", " "])) == [
        ("row 1, column record_ids", "missing_record_id"),
        ("row 2, column record_ids", "missing_record_id"),
    ]


@pytest.mark.parametrize("labels", [["0", "dog"], [0, 3], [0, 0.5], ["0", ""]])
def test_an_unknown_label_is_refused(labels: list[Any]) -> None:
    assert pointers(make_columns(2, labels=labels)) == [("row 1, column labels", "unknown_label")]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.nan, "not_finite"),
        (np.inf, "not_finite"),
        (-np.inf, "not_finite"),
        (-0.1, "out_of_range"),
        (256, "out_of_range"),
    ],
)
def test_a_pixel_outside_the_schema_is_refused(value: float, code: str) -> None:
    images = np.zeros((3, 2, 3))
    images[1, 1, 2] = value
    assert pointers(make_columns(3, images=images)) == [("row 1, column images", code)]


@pytest.mark.parametrize("value", [-1, 256, 2**40])
def test_an_integer_pixel_never_wraps_around(value: int) -> None:
    images = np.zeros((2, 2, 3), np.int64)
    images[1, 0, 0] = value
    assert pointers(make_columns(2, images=images)) == [("row 1, column images", "out_of_range")]


def test_a_byte_beyond_the_declared_range_is_refused() -> None:
    images = np.array([[[1] * 3] * 2, [[2] * 3] * 2], np.uint8)
    assert pointers(make_columns(2, images=images), make_schema(pixel_maximum=1.0)) == [
        ("row 1, column images", "out_of_range")
    ]


@pytest.mark.parametrize(
    ("role", "column", "code"),
    [
        ("images", np.zeros((4, 3, 2), np.uint8), "wrong_shape"),
        ("images", np.zeros((4, 2, 3, 1), np.uint8), "wrong_shape"),
        ("images", np.uint8(0), "wrong_shape"),
        ("images", np.full((4, 2, 3), "x"), "wrong_type"),
        ("images", np.zeros((4, 2, 3), complex), "wrong_type"),
        ("labels", np.zeros((4, 1), np.int64), "wrong_shape"),
        ("labels", np.zeros(4, bool), "wrong_type"),
        ("owners", np.array([{}] * 4, object), "wrong_type"),
        ("owners", np.zeros(3), "length_mismatch"),
        ("public", np.zeros(4, complex), "wrong_type"),
        ("owners", None, "missing_column"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(role: str, column: Any, code: str) -> None:
    assert pointers(make_columns(**{role: column}))[0] == (f"column {role}", code)


def test_columns_are_named_as_the_schema_names_them() -> None:
    schema = make_schema(owners_column="who")
    assert pointers(make_columns(2, owners=["a", ""]), schema) == [("row 1, column who", "missing_owner")]
    assert pointers(make_columns(owners=None), schema) == [("column who", "missing_column")]


def test_an_unclear_flag_is_refused() -> None:
    assert pointers(make_columns(2, public=["1", "perhaps"])) == [("row 1, column public", "not_a_flag")]


def test_a_data_set_without_rows_is_refused() -> None:
    assert pointers(make_columns(0, owners=np.array([], str), record_ids=np.array([], str))) == [
        ("column images", "no_rows")
    ]


@pytest.mark.parametrize(
    "owners",
    [
        np.array([b"ok", b"zo\xeb"]),
        np.frombuffer(np.array([[111, 107], [0xD800, 0]], "<u4").tobytes(), "<U2"),
        np.frombuffer(np.array([[111, 107], [0x110000, 0]], "<u4").tobytes(), "<U2"),
        np.array([1.0, 1.5]),
        np.array([1.0, 2.0**53]),
        np.array([1.0, 2.0**24], np.float32),
        np.array([1.0, np.inf]),
    ],
)
def test_a_value_that_is_no_text_and_no_exact_number_is_refused(owners: NDArray[Any]) -> None:
    assert pointers(make_columns(2, owners=owners)) == [("row 1, column owners", "unreadable_value")]


def test_flaws_of_every_kind_are_counted_and_the_first_rows_listed() -> None:
    count = 1000
    labels = np.full(count, 9)
    labels[0] = 0
    error = refusal(make_columns(count, labels=labels, owners=["a", "b", ""] + ["c"] * (count - 3)))
    assert error.detail == "1000 flaws were found: 1 missing_owner, 999 unknown_label; the first 100 are listed"
    assert len(error.flaws) == 100
    assert [flaw.pointer for flaw in error.flaws[:3]] == [
        "row 1, column labels",
        "row 2, column labels",
        "row 2, column owners",
    ]


def test_no_refusal_repeats_what_was_sent() -> None:
    canary = "canary-7f3a@example.org"
    columns = make_columns(
        labels=[canary] * 4, owners=[canary, "", "a", "b"], record_ids=[canary] * 4, public=[canary, "0", "0", "0"]
    )
    error = refusal(columns)
    assert len(error.flaws) == 4 + 1 + 3 + 1
    assert "canary" not in error.detail + repr(error.flaws)


def test_a_hundred_thousand_rows_take_about_a_second() -> None:
    columns = make_columns(100_000, images=np.zeros((100_000, 2, 3), np.float32))
    began = time.monotonic()
    assert len(validate(columns, SCHEMA).owners) == 100_000
    assert time.monotonic() - began < 5
