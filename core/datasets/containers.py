"""Arrays out of their wrappings, without trusting a single number in a header: NPY, NPZ, IDX and gzip.

Every reader takes what is left of a budget of bytes before it makes anything of that size.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import TooLarge, UnreadableFile, UnsafeFile

NPY = b"\x93NUMPY"
GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX = tuple(bytes([0, 0, code]) for code in IDX_TYPES)
_IDX_START = 4
_PIECE_BYTES = 1 << 20
# An NPY header is a Python literal. It is matched, not evaluated: nesting alone can exhaust the evaluator.
_HEADER_LENGTH = {b"\x01": "<H", b"\x02": "<I", b"\x03": "<I"}
_LONGEST_HEADER = 10_000
_DESCRIPTOR = re.compile(rb"""['"]descr['"] *: *['"]([<>|=]?(?:O|[biufcSU][1-9]\d{0,8}))['"]""")
_ORDER = re.compile(rb"""['"]fortran_order['"] *: *(True|False)""")
_SHAPE = re.compile(rb"""['"]shape['"] *: *\(([\d, ]*)\)""")
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError)


class Budget:
    """How many more bytes the columns of one upload may take."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.left = limit_bytes

    def spend(self, size: int, name: str) -> None:
        """Take `size` bytes for the column of that name.

        Raises:
            TooLarge: so many are not left.
        """
        if size > self.left:
            raise TooLarge(
                f"the columns take more than {self.limit_bytes} bytes unpacked; column {name} is one too much"
            )
        self.left -= size


def read_npy(content: bytes, name: str, budget: Budget) -> NDArray[Any]:
    """Return the array of an NPY file; it shares the file's bytes, so it cannot be written to."""
    budget.spend(len(content), name)
    descriptor, by_columns, shape, start = _npy_header(content, name)
    if descriptor.endswith("O"):
        raise UnsafeFile(f"column {name} holds pickled objects; save it as numbers or strings")
    try:
        dtype = np.dtype(descriptor)
    except (TypeError, ValueError):
        raise UnreadableFile(f"column {name} holds numbers of an unknown type") from None
    return _shaped(memoryview(content)[start:], dtype, shape, name, order="F" if by_columns else "C")


def read_idx(content: bytes, name: str, budget: Budget) -> NDArray[Any]:
    """Return the array of an IDX file (the format of MNIST): a type, the edges, then the values, all big-endian."""
    budget.spend(len(content), name)
    edges = content[3] if len(content) >= _IDX_START else 0
    start = _IDX_START + 4 * edges
    if not edges or len(content) < start:
        raise UnreadableFile(f"column {name} ends within its IDX header")
    shape = struct.unpack_from(f">{edges}I", content, _IDX_START)
    dtype = np.dtype(IDX_TYPES[content[2]])
    found = _shaped(memoryview(content)[start:], dtype, shape, name)
    return found.astype(dtype.newbyteorder("="), copy=False)


def read_single_npz(content: bytes, name: str, budget: Budget) -> NDArray[Any]:
    """Return the only array of an NPZ file."""
    with _opened(content, f"column {name}") as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise UnreadableFile(f"column {name} is an NPZ with {len(members)} arrays; send one")
        return _inflated(archive, members[0], name, budget)


def npz_members(content: bytes, columns: Mapping[str, str], budget: Budget) -> dict[str, NDArray[Any]]:
    """Return by role the arrays that bear a column's name; others are not even inflated."""
    if not content.startswith(ZIP):
        raise UnreadableFile("the file is no NPZ")
    with _opened(content, "the file") as archive:
        present = {member.filename: member for member in archive.infolist()}
        return {
            role: _inflated(archive, present[f"{name}.npy"], name, budget)
            for role, name in columns.items()
            if f"{name}.npy" in present
        }


def gunzip(content: bytes, name: str, budget: Budget) -> bytes:
    """Return what a gzip file holds, inflating no more than the budget allows."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return _drained(file, name, budget)
    except (OSError, EOFError, zlib.error):
        raise UnreadableFile(f"column {name} is a broken gzip file") from None


def _npy_header(content: bytes, name: str) -> tuple[str, bool, tuple[int, ...], int]:
    """Return the type, whether the first index runs fastest, the shape, and where the data begin."""
    form = _HEADER_LENGTH.get(content[6:7], "")
    start = 8 + struct.calcsize(form)  # after the magic, two bytes of version and the length of the header
    if not form or len(content) < start:
        raise UnreadableFile(f"column {name} has a broken NPY header")
    (length,) = struct.unpack_from(form, content, 8)
    header = content[start : start + min(length, _LONGEST_HEADER)]
    descriptor, order, shape = (pattern.search(header) for pattern in (_DESCRIPTOR, _ORDER, _SHAPE))
    if not (descriptor and order and shape):
        raise UnreadableFile(f"column {name} has a broken NPY header, or holds neither plain numbers nor strings")
    try:
        edges = tuple(int(edge) for edge in shape[1].split(b",") if edge.strip())
    except ValueError:
        raise UnreadableFile(f"column {name} has a broken NPY header") from None
    return descriptor[1].decode(), order[1] == b"True", edges, start + length


def _opened(content: bytes, subject: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _BROKEN_ZIP:
        raise UnreadableFile(f"{subject} is a broken NPZ") from None


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, budget: Budget) -> NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableFile(f"column {name} is compressed in a way that numpy never writes")
    if member.file_size > budget.left:
        budget.spend(member.file_size, name)
    try:
        # Piece by piece, as a member may lie about its size, and `read` of the whole inflates up to 2 GiB at once.
        with archive.open(member) as file:
            content = _drained(file, name, budget)
    except _BROKEN_ZIP:
        raise UnreadableFile(f"column {name} is broken within its NPZ") from None
    if not content.startswith(NPY):
        raise UnreadableFile(f"column {name} is no array within its NPZ")
    return read_npy(content, name, budget)


def _drained(file: IO[bytes] | gzip.GzipFile, name: str, budget: Budget) -> bytes:
    inflated = io.BytesIO()
    while piece := file.read(_PIECE_BYTES):
        inflated.write(piece)
        if inflated.tell() > budget.left:
            budget.spend(inflated.tell(), name)
    return inflated.getvalue()


def _shaped(
    data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str, *, order: str = "C"
) -> NDArray[Any]:
    if math.prod(shape) * dtype.itemsize != len(data):
        raise UnreadableFile(f"column {name} holds more or fewer bytes than its header declares")
    try:
        return np.frombuffer(data, dtype).reshape(shape, order=cast("Any", order))
    except (ValueError, OverflowError):
        raise UnreadableFile(f"column {name} has a shape that no array can have") from None
