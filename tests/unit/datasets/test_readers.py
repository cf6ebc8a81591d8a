from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.datasets.readers import read_columns
from core.datasets.schema import ImageSchema
from core.domain.errors import LetheError, TooLarge, UnreadableFile, UnsafeFile
from tests.shared_data import shared

SCHEMA = ImageSchema(image_shape=(2, 3), labels=("cat", "dog"), owner_identity_type="email", public_column="public")
IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def read(files: Mapping[str, bytes], limit_bytes: int = 1 << 20) -> dict[str, NDArray[Any]]:
    return read_columns(files, schema=SCHEMA, limit_bytes=limit_bytes)


def npy(array: NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its last parameter is a flag
    return stream.getvalue()


def npy_header(description: str, data: bytes = b"") -> bytes:
    header = description.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def idx(code: int, shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


def test_one_npz_holds_all_columns_and_others_are_left_alone() -> None:
    owners = np.array(["a@x.org", "b@x.org", "", "c"])
    content = npz(images=IMAGES, owners=owners, note=np.zeros(10))
    columns = read({"file": content})
    assert columns.keys() == {"images", "owners"}
    assert np.array_equal(columns["images"], IMAGES)
    assert columns["owners"].tolist() == owners.tolist()


@pytest.mark.parametrize(
    "content",
    [
        npy(IMAGES),
        npy(np.asfortranarray(IMAGES)),
        npz(anything=IMAGES),
        idx(0x08, (4, 2, 3), IMAGES.tobytes()),
        gzip.compress(idx(0x08, (4, 2, 3), IMAGES.tobytes())),
        gzip.compress(npy(IMAGES)),
    ],
    ids=["npy", "npy by columns", "npz", "idx", "idx.gz", "npy.gz"],
)
def test_images_are_read_from_every_format(content: bytes) -> None:
    found = read({"images": content})["images"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, IMAGES)


@pytest.mark.parametrize(("code", "dtype"), [(0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")])
def test_idx_numbers_are_turned_from_big_endian(code: int, dtype: str) -> None:
    values = np.array([-3, 0, 100], dtype)
    found = read({"labels": idx(code, (3,), values.astype(values.dtype.newbyteorder(">")).tobytes())})["labels"]
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == [-3, 0, 100]


def test_every_shape_that_numpy_writes_is_read() -> None:
    for shape in ((), (3,), (2, 3), (0, 2), (1, 1, 1, 1)):
        assert read({"labels": npy(np.zeros(shape))})["labels"].shape == shape


def test_text_is_one_value_per_line() -> None:
    text = "\ufeffzoë@x.org\r\n\r\n b \nc\n".encode()
    assert read({"owners": text})["owners"].tolist() == ["zoë@x.org", "", " b ", "c"]
    assert read({"owners": gzip.compress(text)})["owners"].tolist() == ["zoë@x.org", "", " b ", "c"]
    assert read({"labels": b"cat\ndog"})["labels"].tolist() == ["cat", "dog"]


def test_real_images_are_read() -> None:
    content = (shared("fashion-mnist") / "t10k-labels-idx1-ubyte.gz").read_bytes()
    labels = read({"labels": content})["labels"]
    assert labels.shape == (10_000,)
    assert np.bincount(labels).tolist() == [1000] * 10


@pytest.mark.parametrize("form", ["npy", "npz", "file"])
def test_pickled_objects_are_never_loaded(form: str) -> None:
    array = np.array([{"a": 1}, None], dtype=object)
    pickled = npy(array, allow_pickle=True)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("owners.npy", pickled)
    files = {"npy": {"owners": pickled}, "npz": {"owners": stream.getvalue()}, "file": {"file": stream.getvalue()}}
    with pytest.raises(UnsafeFile, match="column owners"):
        read(files[form])


def peak_of(files: Mapping[str, bytes], limit_bytes: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises((TooLarge, UnreadableFile), match="column images"):
            read(files, limit_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_npz_that_declares_too_much_is_refused_before_it_is_inflated() -> None:
    content = npz(images=np.zeros(50_000_000, np.uint8))
    assert len(content) < 100_000
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        read({"file": content}, limit_bytes=1_000_000)
    assert peak_of({"file": content}, 1_000_000) < 1_000_000


def test_an_npz_that_lies_about_its_size_is_not_inflated_further() -> None:
    honest = npz(images=np.zeros(50_000_000, np.uint8))
    declared = struct.pack("<I", 50_000_000 + 128)
    assert honest.count(declared) >= 1
    assert peak_of({"file": honest.replace(declared, struct.pack("<I", 1000))}, 1_000_000) < 10_000_000


def test_a_gzip_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert peak_of({"images": bomb}, 1_000_000) < 10_000_000


def test_a_header_that_declares_more_than_follows_allocates_nothing() -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28), }"
    assert peak_of({"images": npy_header(header, b"abc")}, 1_000_000) < 1_000_000
    assert peak_of({"images": idx(0x08, (2**32 - 1, 2**32 - 1), b"abc")}, 1_000_000) < 1_000_000


def test_the_limit_holds_for_all_columns_together() -> None:
    column = npy(np.zeros(600, np.uint8))
    assert read({"images": column, "labels": column}, limit_bytes=2 * len(column)).keys() == {"images", "labels"}
    with pytest.raises(TooLarge):
        read({"images": column, "labels": column}, limit_bytes=2 * len(column) - 1)


def flipped_crc(content: bytes) -> bytes:
    crc = struct.pack("<I", zlib.crc32(npy(IMAGES)))
    return content.replace(crc, b"\0\0\0\0")


@pytest.mark.parametrize(
    "files",
    [
        {"images": b""},
        {"images": b"plain text"},
        {"images": npy(IMAGES)[:-1]},
        {"images": npy(IMAGES) + b"x"},
        {"images": npy(IMAGES)[:20]},
        {"images": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -2), }", b"abcd")},
        {"images": npy_header("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }")},
        {"images": npy_header("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }", b"a")},
        {"images": npy_header("__import__('os').getcwd()")},
        {"images": npy_header("(" * 116)},
        {"images": npy_header("{'descr': '<i3', 'fortran_order': False, 'shape': (1,), }", b"abc")},
        {"images": npy_header("{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }", b"abc")},
        {
            "images": npy_header(
                "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 999999999999999999, 9999999999), }"
            )
        },
        {"images": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1 2,), }", bytes(12))},
        {"images": npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (0, " + "9" * 40 + "), }")},
        {"images": idx(0x08, (1,) * 255, b"a")},
        {"images": b"\x93NUMPY\x04\x00" + npy(IMAGES)[8:]},
        {"images": npz(one=IMAGES, two=IMAGES)},
        {"images": npz(one=IMAGES)[:-30]},
        {"images": flipped_crc(npz(one=IMAGES))},
        {"images": gzip.compress(npy(IMAGES))[:-9]},
        {"images": idx(0x08, (4, 2, 3), IMAGES.tobytes()[:-1])},
        {"images": idx(0x08, (4, 2, 3), b"")[:9]},
        {"images": idx(0x08, (), b"")},
        {"owners": b"zo\xeb@x.org\n"},
        {"owners": b"a\x00b\n"},
        {"file": npy(IMAGES)},
        {"file": b"PK\x03\x04 and no more"},
        {"weights": npy(IMAGES)},
        {"file": npz(images=IMAGES), "images": npy(IMAGES)},
    ],
)
def test_a_broken_file_is_refused_with_a_sentence(files: dict[str, bytes]) -> None:
    with pytest.raises(UnreadableFile, match=r"column (images|owners)|the file is|under a name"):
        read(files)


@given(st.sampled_from([npy(IMAGES), npz(images=IMAGES), gzip.compress(npy(IMAGES))]), st.data())
def test_random_damage_is_refused_or_read_but_never_crashes(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    files = {"file": bytes(damaged)} if content.startswith(b"PK") else {"images": bytes(damaged)}
    try:
        columns = read(files)
    except LetheError:
        return
    assert all(isinstance(column, np.ndarray) for column in columns.values())
