from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from core.datasets.blocks import (
    BlockRows,
    OwnerBlock,
    decode_block,
    encode_block,
    group_by_owner,
    pack,
    without_records,
)
from core.datasets.image_rows import row_content
from core.datasets.validation import Rows
from core.domain.references import content_reference, owner_reference, record_reference

KEY = bytes(range(32))


def make_rows(
    owners: tuple[str, ...] = ("a@x.org", "b@x.org", "A@X.org"), public: tuple[bool, ...] | None = None, **changes: Any
) -> Rows:
    count = len(owners)
    images = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    plain: dict[str, Any] = {
        "arrays": {"images": images, "labels": np.arange(count)},
        "owners": list(owners),
        "record_ids": [f"récord{row}" for row in range(count)],
        "public": np.array(public or (False,) * count),
    }
    return Rows(**{**plain, **changes})


def grouped(rows: Rows) -> list[OwnerBlock]:
    return group_by_owner(rows, tenant_key=KEY, identity_type="email")


def make_block(count: int = 5) -> BlockRows:
    [block] = grouped(make_rows(("a@x.org",) * count))
    return block.rows


def same(first: BlockRows, second: BlockRows) -> bool:
    names = ("record_references", "content_references")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    pairs += [(first.arrays[name], second.arrays[name]) for name in ("images", "labels")]
    alike = all(np.array_equal(one, other) and one.dtype == other.dtype for one, other in pairs)
    return alike and first.record_ids == second.record_ids


def test_a_block_holds_all_rows_of_an_owner_however_the_owner_is_spelled() -> None:
    blocks = grouped(make_rows())
    assert {block.owner: set(block.rows.record_ids) for block in blocks} == {
        owner_reference(KEY, "email", "a@x.org"): {"récord0", "récord2"},
        owner_reference(KEY, "email", "b@x.org"): {"récord1"},
    }


def test_public_and_private_rows_of_an_owner_lie_apart() -> None:
    blocks = grouped(make_rows(("a", "a", "", ""), public=(False, True, True, True)))
    reference = owner_reference(KEY, "email", "a")
    assert [(block.owner, block.public, len(block.rows)) for block in blocks] == [
        (reference, False, 1), (None, True, 2), (reference, True, 1),
    ]  # fmt: skip


def test_references_are_those_of_the_record_and_its_content() -> None:
    rows = make_rows(("a",))
    [block] = grouped(rows)
    assert block.rows.record_references[0].tobytes() == record_reference(KEY, "récord0")
    assert block.rows.content_references[0].tobytes() == content_reference(
        KEY, row_content(rows.arrays["images"][0], 0)
    )
    assert np.array_equal(block.rows.arrays["images"], rows.arrays["images"])


def test_the_order_in_which_rows_were_sent_leaves_no_trace() -> None:
    rows = make_rows(("a", "b", "a", "c", "a"))
    turned = np.array([3, 4, 0, 2, 1])
    other = Rows(
        arrays={name: array[turned] for name, array in rows.arrays.items()}, public=rows.public[turned],
        owners=[rows.owners[row] for row in turned], record_ids=[rows.record_ids[row] for row in turned],
    )  # fmt: skip
    assert [encode_block(block.rows) for block in grouped(rows)] == [
        encode_block(block.rows) for block in grouped(other)
    ]


def test_a_block_comes_back_as_it_was() -> None:
    block = make_block()
    assert same(decode_block(encode_block(block)), block)
    floats = replace(block, arrays=block.arrays | {"images": block.arrays["images"].astype(np.float32) / 3})
    assert same(decode_block(encode_block(floats)), floats)


def test_a_block_is_encoded_alike_in_another_process() -> None:
    code = (
        "import sys; from tests.unit.datasets.test_blocks import make_block, encode_block;"
        "sys.stdout.buffer.write(encode_block(make_block()))"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == encode_block(
            make_block()
        )


def test_images_that_are_a_view_are_encoded_as_they_look() -> None:
    block = make_block()
    turned = replace(block, arrays=block.arrays | {"images": np.asfortranarray(block.arrays["images"])})
    assert encode_block(turned) == encode_block(block)


def test_records_are_taken_out_by_reference() -> None:
    block = make_block()
    unwanted = {block.record_references[1].tobytes(), block.record_references[3].tobytes(), bytes(32)}
    left = without_records(block, unwanted)
    assert left.record_ids == [block.record_ids[row] for row in (0, 2, 4)]
    assert np.array_equal(left.arrays["images"], block.arrays["images"][[0, 2, 4]])
    assert np.array_equal(left.arrays["labels"], block.arrays["labels"][[0, 2, 4]])
    assert not {reference.tobytes() for reference in left.record_references} & unwanted
    assert np.array_equal(left.content_references, block.content_references[[0, 2, 4]])


def test_a_block_may_lose_its_last_record() -> None:
    block = make_block()
    empty = without_records(block, [reference.tobytes() for reference in block.record_references])
    assert len(empty) == 0
    assert empty.arrays["images"].shape == (0, 2, 3)
    assert same(decode_block(encode_block(empty)), empty)


def damaged(**changes: Any) -> bytes:
    tensors = {**load(encode_block(make_block())), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return save(kept, metadata={"format": "lethe block 1"})


def test_an_undamaged_block_is_read() -> None:
    assert same(decode_block(damaged()), make_block())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no block",
        encode_block(make_block())[:-1],
        damaged(labels=None),
        damaged(record_ids=None),
        damaged(extra=np.zeros(1)),
        damaged(labels=np.zeros(5, np.int32)),
        damaged(labels=np.zeros(4, np.int64)),
        damaged(images=np.zeros((5, 2, 3), np.float64)),
        damaged(images=np.zeros((4, 2, 3), np.uint8)),
        damaged(images=np.zeros((5, 6), np.uint8)),
        damaged(record_references=np.zeros((5, 31), np.uint8)),
        damaged(content_references=np.zeros((5, 32), np.int8)),
        damaged(record_id_lengths=np.array([8, 8, 8, 8, 9])),
        damaged(record_id_lengths=np.array([-8, 16, 16, 8, 8])),
        damaged(record_id_lengths=np.array([2, 14, 8, 8, 8])),  # splits a character in two
        damaged(record_id_lengths=np.zeros((5, 1), np.int64)),
        save(load(encode_block(make_block())), metadata={"format": "lethe block 2"}),
        save(load(encode_block(make_block()))),
    ],
)
def test_anything_else_is_no_block(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"block|must|add up|decode"):
        decode_block(content)


def test_contents_are_equal_only_when_everything_is() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    contents = [
        row_content(image, 0),
        row_content(image, 1),
        row_content(image.T, 0),
        row_content(image.reshape(3, 2), 0),
        row_content(image.reshape(2, 3, 1), 0),
        row_content(image.astype(np.float32), 0),
        row_content(image + np.uint8(1), 0),
    ]
    assert all(first != second for first, second in combinations(contents, 2))
    assert row_content(np.asfortranarray(image), 0) == contents[0]
    assert row_content(image.astype(">f4"), 0) == contents[5]


def test_the_content_of_a_row_is_written_as_documented() -> None:
    image = np.array([[1, 2]], np.uint8)
    assert row_content(image, 258) == (
        b"lethe row\x00uint8\x00" + b"\x02" + b"\x01\0\0\0" + b"\x02\0\0\0" + b"\x02\x01\0\0\0\0\0\0" + b"\x01\x02"
    )


@given(st.lists(st.binary(max_size=40)), st.integers(1, 60))
def test_every_block_lies_whole_in_one_chunk(contents: list[bytes], target_bytes: int) -> None:
    chunks = list(pack(((str(number), content) for number, content in enumerate(contents)), target_bytes))
    found = [
        (name, chunk.content[offset : offset + length]) for chunk in chunks for name, offset, length in chunk.spans
    ]
    assert found == [(str(number), content) for number, content in enumerate(contents)]
    assert all(len(chunk.content) <= target_bytes or len(chunk.spans) == 1 for chunk in chunks)
    assert all(len(chunk.content) == sum(length for *_, length in chunk.spans) for chunk in chunks)


def test_small_blocks_share_a_chunk() -> None:
    assert len(list(pack([(str(number), bytes(10)) for number in range(100)], 100))) == 10
