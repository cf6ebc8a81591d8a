"""Tables from file to block: every format, every flaw, and what makes two contents one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from importlib import util
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from core.datasets import kinds
from core.datasets.blocks import decode_block, encode_block, group_by_owner, without_records
from core.datasets.readers import read_columns
from core.datasets.schema import schema_from_json
from core.datasets.tabular_rows import read_questions, row_content
from core.datasets.tabular_schema import CategoricalColumn, NumberTarget, NumericColumn
from core.datasets.validation import Rows, validate
from core.domain.errors import BadInput, Impossible, LetheError, RowsRefused, TooLarge, UnreadableFile
from tests.unit.datasets.patients import FEATURES, SCORE, make_rows, make_schema

SCHEMA = make_schema()
TableRows = Sequence[Mapping[str, Any]]


def as_csv(rows: TableRows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_lines(rows: TableRows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: TableRows) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[TableRows], bytes]] = {
    "csv": as_csv,
    "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "csv of windows": lambda rows: b"\xef\xbb\xbf" + as_csv(rows),
    "jsonl": as_lines,
    "jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    "parquet": as_parquet,
}


def read(content: bytes, limit_bytes: int = 1 << 20, schema: Any = SCHEMA) -> Rows:
    return validate(read_columns({"file": content}, schema=schema, limit_bytes=limit_bytes), schema)


def refusal(content: bytes) -> RowsRefused:
    with pytest.raises(RowsRefused) as caught:
        read(content)
    return caught.value


@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_every_format_says_the_same(written: Callable[[TableRows], bytes]) -> None:
    rows = read(written(make_rows()))
    assert rows.record_ids == ["1", "2", "3"]
    assert rows.owners == ["a@x.org", "b@x.org", ""]
    assert rows.public.tolist() == [False, False, True]
    assert rows.arrays["categories"].tolist() == [[0, 1], [1, -1], [1, 2]]
    assert rows.arrays["labels"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(rows.arrays["numbers"], [[61, 120.5], [7, np.nan], [30, 88]])


@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_target_may_be_a_number(written: Callable[[TableRows], bytes]) -> None:
    rows = read(written(make_rows()), schema=make_schema(target=SCORE))
    assert rows.arrays["values"].tolist() == [0, 10, 20]


def test_a_contract_comes_back_from_json_as_it_was_and_every_clause_is_in_its_digest() -> None:
    assert schema_from_json(json.loads(json.dumps(SCHEMA.as_json()))) == SCHEMA
    others = [
        make_schema(features=FEATURES[:3]),
        make_schema(features=FEATURES[::-1]),
        make_schema(features=(NumericColumn(name="age", minimum=0, maximum=121), *FEATURES[1:])),
        make_schema(target=SCORE),
        make_schema(target=NumberTarget(column="score", minimum=0, maximum=51)),
        make_schema(owners_column="who"),
    ]
    assert len({schema.digest() for schema in (SCHEMA, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ()},
        {"features": (FEATURES[0], FEATURES[0])},
        {"features": (NumericColumn(name="outcome", minimum=0, maximum=1),)},
        {"features": (NumericColumn(name="", minimum=0, maximum=1),)},
        {"owners_column": "age"},
        {"owner_identity_type": "E-mail"},
    ],
)
def test_columns_that_are_named_twice_or_not_at_all_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        make_schema(**changes)


def test_nonsense_in_a_column_is_refused_at_the_door() -> None:
    for minimum, maximum in ((1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf")), (0.0, 1e31)):
        with pytest.raises(ValueError, match="minimum"):
            NumericColumn(name="x", minimum=minimum, maximum=maximum)
    for words in ((), ("a", "a"), (" a",), ("",)):
        with pytest.raises(ValueError, match="categories must"):
            CategoricalColumn(name="x", categories=words)


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"age": {1: "canaryperson"}}, "row 1, column age", "not_a_number"),
        ({"age": {1: "1_0"}}, "row 1, column age", "not_a_number"),
        ({"age": {0: "Infinity"}}, "row 0, column age", "not_a_number"),
        ({"age": {2: ""}}, "row 2, column age", "missing_value"),
        ({"age": {2: "121"}}, "row 2, column age", "out_of_range"),
        ({"pressure": {1: "39.9"}}, "row 1, column pressure", "out_of_range"),
        ({"sex": {0: "canaryperson"}}, "row 0, column sex", "unknown_category"),
        ({"sex": {0: ""}}, "row 0, column sex", "missing_value"),
        ({"outcome": {0: "canaryperson"}}, "row 0, column outcome", "unknown_label"),
        ({"patient": {0: ""}}, "row 0, column patient", "missing_owner"),
        ({"visit": {1: "1"}}, "row 1, column visit", "duplicate_record_id"),
        ({"public": {1: "canaryperson"}}, "row 1, column public", "not_a_flag"),
    ],
)
@pytest.mark.parametrize("written", [as_csv, as_lines], ids=["csv", "jsonl"])
def test_a_bad_cell_is_named_by_row_and_column_and_never_by_value(
    changes: dict[str, dict[int, Any]], pointer: str, code: str, written: Callable[[TableRows], bytes]
) -> None:
    refused = refusal(written(make_rows(**changes)))
    assert [(flaw.pointer, flaw.code) for flaw in refused.flaws] == [(pointer, code)]
    assert "canaryperson" not in str(refused) + "".join(flaw.detail for flaw in refused.flaws)


def test_a_column_that_is_not_there_is_named() -> None:
    rows = [{name: value for name, value in row.items() if name not in ("sex", "visit")} for row in make_rows()]
    for written in (as_csv, as_lines, as_parquet):
        refused = refusal(written(rows))
        assert {(flaw.pointer, flaw.code) for flaw in refused.flaws} == {
            ("column sex", "missing_column"), ("column visit", "missing_column"),
        }  # fmt: skip


def test_rows_that_are_no_rows_are_counted_and_named() -> None:
    lines = as_csv(make_rows()).splitlines()
    refused = refusal(b"\n".join([lines[0], lines[1] + b",canaryperson", b"", lines[2], b"canaryperson"]))
    assert [flaw.pointer for flaw in refused.flaws] == ["row 0", "row 2"]
    refused = refusal(
        as_lines(make_rows()) + b'["canaryperson"]\n{"age": {"canaryperson": 1}}\n{"age"\n' + b"[" * 100000
    )
    assert [flaw.pointer for flaw in refused.flaws] == ["row 3", "row 4", "row 5", "row 6"]
    assert "canaryperson" not in str(refused.flaws)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"age,age\n1,2\n",
        b'age\n"canaryperson',
        b"age\n\xff\xfe\n",
        b"\xff\xfe",
        b"age\n" + b"canaryperson" * 20_000,
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        b"PAR1canarypersonPAR1",
        as_parquet(make_rows())[:-30],
        gzip.compress(as_csv(make_rows()))[:-9],
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(LetheError) as caught:
        read(content)
    assert isinstance(caught.value, UnreadableFile | RowsRefused)
    assert "canaryperson" not in caught.value.detail


def test_lists_in_a_parquet_column_are_refused() -> None:
    with pytest.raises(UnreadableFile, match="no text and no number"):
        read(as_parquet(make_rows(sex={number: ["f"] for number in range(3)})))


@pytest.mark.parametrize("files", [{"images": b"x"}, {"file": b"x", "labels": b"y"}, {}])
def test_a_table_is_sent_as_one_file(files: dict[str, bytes]) -> None:
    with pytest.raises(UnreadableFile, match="one `file`"):
        read_columns(files, schema=SCHEMA, limit_bytes=1 << 20)


def bombs() -> dict[str, bytes]:
    line = as_csv(make_rows()).splitlines(keepends=True)[1]
    many = pa.table({name: pa.array([value] * 2_000_000) for name, value in make_rows()[0].items()})
    sink = io.BytesIO()
    parquet.write_table(many, sink)
    return {"gzip": gzip.compress(b"x" * (50 << 20)), "rows": line * 40_000, "parquet": sink.getvalue()}


@pytest.mark.parametrize("kind", ["gzip", "rows", "parquet"])
def test_memory_is_bounded_by_the_limit_and_not_by_what_a_file_unpacks_to(kind: str) -> None:
    content = bombs()[kind]
    tracemalloc.start()
    with pytest.raises(TooLarge):
        read(content, limit_bytes=2 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_without_pyarrow_a_parquet_file_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "core.datasets.parquet.find_spec", lambda name: None if name == "pyarrow" else util.find_spec(name)
    )
    with pytest.raises(Impossible, match=r"lethe\[parquet\]"):
        read(as_parquet(make_rows()))
    assert read(as_csv(make_rows())).record_ids == ["1", "2", "3"]


def test_blocks_of_tables_come_back_and_lose_records_like_any_other() -> None:
    for schema in (
        SCHEMA,
        make_schema(target=SCORE),
        make_schema(features=FEATURES[:1]),
        make_schema(features=FEATURES[1:2]),
    ):
        rows = read(as_csv(make_rows(patient={1: "a@x.org"})), schema=schema)
        mine, _ = group_by_owner(rows, tenant_key=bytes(32), identity_type="email")
        returned = decode_block(encode_block(mine.rows))
        assert encode_block(returned) == encode_block(mine.rows)
        for name, array in mine.rows.arrays.items():
            np.testing.assert_array_equal(returned.arrays[name], array)
        empty = without_records(returned, [one.tobytes() for one in returned.record_references])
        assert decode_block(encode_block(empty)).arrays.keys() == kinds.no_arrays(schema).keys()
        shapes = {name: array.shape for name, array in kinds.no_arrays(schema).items()}
        assert {name: array.shape for name, array in empty.arrays.items()} == shapes


def test_contents_are_equal_only_when_every_cell_and_the_target_are() -> None:
    first = read(as_csv(make_rows())).arrays
    changed = [
        read(as_csv(make_rows(**{column: {0: value}}))).arrays
        for column, value in {"age": 62, "sex": "m", "pressure": "", "smokes": "", "outcome": "well"}.items()
    ]
    number = read(as_csv(make_rows()), schema=make_schema(target=SCORE)).arrays
    contents = {row_content(arrays, 0) for arrays in (first, *changed, number)}
    assert len(contents) == len(changed) + 2
    assert row_content(read(as_lines(make_rows(age={0: "61.0"}))).arrays, 0) == row_content(first, 0)
    assert row_content(read(as_csv(make_rows(visit={0: 9}, patient={0: "c"}))).arrays, 0) == row_content(first, 0)


def test_minus_zero_is_zero() -> None:
    contents = [row_content(read(as_csv(make_rows(age={0: zero}))).arrays, 0) for zero in ("0", "-0.0", "-0e3")]
    assert len(set(contents)) == 1


def test_questions_are_read_by_name_and_in_any_order() -> None:
    arrays = read_questions(
        [{"sex": "m", "age": 30, "smokes": "daily", "pressure": 88}, {"age": 7.5, "sex": "f"}], SCHEMA
    )
    np.testing.assert_array_equal(arrays["numbers"], [[30, 88], [7.5, np.nan]])
    assert arrays["categories"].tolist() == [[1, 2], [0, -1]]
    assert arrays.keys() == {"numbers", "categories"}


@pytest.mark.parametrize(
    "question",
    [
        {"age": 30},
        {"age": 130, "sex": "f"},
        {"age": "canaryperson", "sex": "f"},
        {"age": 30, "sex": "canaryperson"},
        {"age": 30, "sex": "f", "canaryperson": 1},
        {"age": True, "sex": "f"},
        {"age": [30], "sex": "f"},
        {"age": {}, "sex": "f"},
        {"age": float("nan"), "sex": "f"},
        {"age": float("inf"), "sex": "f"},
        {"age": 10**400, "sex": "f"},
        [30, "f"],
        "canaryperson",
        None,
    ],
)
def test_a_question_that_breaks_the_contract_is_refused_and_not_repeated(question: Any) -> None:
    with pytest.raises(BadInput) as caught:
        read_questions([{"age": 1, "sex": "f"}, question], SCHEMA)
    assert "canaryperson" not in caught.value.detail + str(caught.value.flaws)
