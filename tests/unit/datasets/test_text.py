"""Texts from file to block: what is refused, and that every character comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.datasets.blocks import decode_block, encode_block, group_by_owner, without_records
from core.datasets.readers import read_columns
from core.datasets.schema import TextSchema, schema_from_json
from core.datasets.text_rows import read_questions, row_content
from core.datasets.validation import Rows, validate
from core.domain.errors import BadInput, RowsRefused

SCHEMA = TextSchema(labels=("spam", "ham"), most_characters=60, owner_identity_type="email")
TEXTS = ("Buy now!", "naïve \N{SNOWMAN} “words”\nand a second line", '  padded,\twith "quotes" ', "\x00 zero")


def lines(*texts: Any, labels: Any = ("spam", "ham", "ham", "spam")) -> bytes:
    rows = zip(texts, labels, strict=False)
    return "".join(
        json.dumps({"record_ids": row, "owners": "a@x.org", "texts": text, "labels": label}) + "\n"
        for row, (text, label) in enumerate(rows)
    ).encode()


def read(content: bytes) -> Rows:
    return validate(read_columns({"file": content}, schema=SCHEMA, limit_bytes=1 << 20), SCHEMA)


def test_every_character_comes_back_from_a_block() -> None:
    rows = read(lines(*TEXTS))
    assert rows.arrays["texts"].tolist() == list(TEXTS)
    [block] = group_by_owner(rows, tenant_key=bytes(32), identity_type="email")
    returned = decode_block(encode_block(block.rows))
    assert sorted(returned.arrays["texts"].tolist()) == sorted(TEXTS)
    assert encode_block(returned) == encode_block(block.rows)
    left = without_records(returned, [returned.record_references[0].tobytes()])
    assert left.arrays["texts"].tolist() == returned.arrays["texts"].tolist()[1:]
    empty = without_records(returned, [one.tobytes() for one in returned.record_references])
    assert len(decode_block(encode_block(empty)).arrays["texts"]) == 0


def test_a_contract_comes_back_from_json_as_it_was() -> None:
    assert schema_from_json(json.loads(json.dumps(SCHEMA.as_json()))) == SCHEMA
    for most in (0, True, 10_000_000):
        with pytest.raises(ValueError, match="most_characters"):
            TextSchema(labels=("a", "b"), most_characters=most, owner_identity_type="email")


def test_an_empty_text_or_one_too_long_is_named_by_row_and_column() -> None:
    with pytest.raises(RowsRefused) as caught:
        read(lines("fine", " \n", "canaryperson" * 6, None))
    assert [(flaw.pointer, flaw.code) for flaw in caught.value.flaws] == [
        ("row 1, column texts", "missing_value"),
        ("row 2, column texts", "too_long"),
        ("row 3, column texts", "missing_value"),
    ]
    assert "canaryperson" not in str(caught.value.flaws)


def test_contents_are_equal_only_when_text_and_label_are() -> None:
    contents = [row_content("a", 0), row_content("a", 1), row_content("a ", 0), row_content("A", 0)]
    assert len(set(contents)) == len(contents)


def test_a_lone_surrogate_is_no_question() -> None:
    with pytest.raises(BadInput, match="no character"):
        read_questions(["fine", "\ud800"], SCHEMA)
