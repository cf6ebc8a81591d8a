"""Blocks: all rows of one owner in one part (public or private), as bytes that can be sealed and forgotten as one.

    Rows ──group_by_owner──▶ OwnerBlock ──encode_block──▶ bytes ──(sealed by the caller)──▶ pack ──▶ Chunk

A block is a safetensors file, and the same rows give the same bytes whatever order they were sent in. Chunks gather
many small blocks into objects of a size that stores like; a block never spans two of them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.datasets import kinds
from core.datasets.kinds import Arrays
from core.datasets.validation import Rows
from core.domain.references import REFERENCE_BYTES, content_reference, owner_reference, record_reference

_FORMAT = {"format": "lethe block 1"}  # one entry only: safetensors writes several in an order of chance
_OWN = ("record_references", "content_references", "record_ids", "record_id_lengths")
"""What every block holds; all other tensors are the kind's arrays."""
_LENGTHS = "_lengths"


@dataclass(frozen=True, kw_only=True)
class BlockRows:
    """The n rows of one block; n may be 0 after its last record was deleted."""

    record_references: NDArray[np.uint8]
    """(n, 32) keyed reference of each record's id."""
    content_references: NDArray[np.uint8]
    """(n, 32) keyed digest of each record's content."""
    record_ids: list[str]
    arrays: Arrays
    """What a model learns from, by name, with n rows each; see `core.datasets.kinds`."""

    def __len__(self) -> int:
        return len(self.record_ids)


@dataclass(frozen=True, kw_only=True)
class OwnerBlock:
    """One block and whose it is."""

    owner: bytes | None
    """The owner's reference; None for public rows that nobody owns."""
    public: bool
    rows: BlockRows


@dataclass(frozen=True)
class Chunk:
    """Blocks packed into one object."""

    content: bytes
    spans: list[tuple[str, int, int]]
    """(name, offset, length) of each block within the content, in bytes."""


def group_by_owner(rows: Rows, *, tenant_key: bytes, identity_type: str) -> list[OwnerBlock]:
    """Split rows into blocks: private ones by owner reference, then public ones; records in order of their reference.

    Owners are told apart by reference, so two spellings of one identity share a block.

    Args:
        rows: what was validated.
        tenant_key: the tenant's 32-byte key.
        identity_type: what an owner value is, as the schema says.
    """
    references = {
        owner: owner_reference(tenant_key, identity_type, owner) if owner else b"" for owner in set(rows.owners)
    }
    members: dict[tuple[bool, bytes], list[int]] = {}
    for row, (owner, public) in enumerate(zip(rows.owners, rows.public.tolist(), strict=True)):
        members.setdefault((public, references[owner]), []).append(row)
    return [
        OwnerBlock(owner=owner or None, public=public, rows=_block(rows, members[public, owner], tenant_key))
        for public, owner in sorted(members)
    ]


def _block(rows: Rows, members: list[int], tenant_key: bytes) -> BlockRows:
    ordered = sorted((record_reference(tenant_key, rows.record_ids[row]), row) for row in members)
    chosen = np.array([row for _, row in ordered])
    arrays = {name: array[chosen] for name, array in rows.arrays.items()}
    contents = [content_reference(tenant_key, kinds.row_content(arrays, row)) for row in range(len(ordered))]
    return BlockRows(
        record_references=_as_array([reference for reference, _ in ordered]),
        content_references=_as_array(contents),
        record_ids=[rows.record_ids[row] for row in chosen.tolist()],
        arrays=arrays,
    )


def without_records(block: BlockRows, references: Collection[bytes]) -> BlockRows:
    """Return the block without the records of these references; those it does not hold change nothing."""
    unwanted = frozenset(references)
    kept = [row for row, reference in enumerate(block.record_references) if reference.tobytes() not in unwanted]
    return BlockRows(
        record_references=block.record_references[kept],
        content_references=block.content_references[kept],
        record_ids=[block.record_ids[row] for row in kept],
        arrays={name: array[kept] for name, array in block.arrays.items()},
    )


def encode_block(rows: BlockRows) -> bytes:
    """Return the one encoding of these rows.

    Raises:
        ValueError: the columns do not fit together.
    """
    _refuse_misfits(rows)
    texts = [record_id.encode() for record_id in rows.record_ids]
    tensors = {
        **_without_strings(rows.arrays),
        "record_references": rows.record_references,
        "content_references": rows.content_references,
        "record_ids": np.frombuffer(b"".join(texts), np.uint8),
        "record_id_lengths": np.array([len(text) for text in texts], np.int64),
    }
    # safetensors writes the memory as it lies, whatever the strides say.
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=_FORMAT)


def decode_block(content: bytes) -> BlockRows:
    """Read back what `encode_block` wrote.

    Raises:
        ValueError: the bytes are no such encoding.
    """
    try:
        tensors = load(content)
        (header_bytes,) = struct.unpack_from("<Q", content)
        metadata = json.loads(content[8 : 8 + header_bytes]).get("__metadata__")
        own = {name: tensors.pop(name) for name in _OWN}
        record_ids = _split(own.pop("record_ids"), own.pop("record_id_lengths"))
        rows = BlockRows(record_ids=record_ids, arrays=_with_strings(tensors), **own)
    except (SafetensorError, KeyError, TypeError):
        raise ValueError("the bytes are no block") from None
    if metadata != _FORMAT:
        raise ValueError("the bytes are a block of another format")
    _refuse_misfits(rows)
    return rows


def pack(blocks: Iterable[tuple[str, bytes]], target_bytes: int) -> Iterator[Chunk]:
    """Gather blocks, in the order given, into chunks of at most `target_bytes`; a bigger block has one of its own."""
    contents: list[bytes] = []
    spans: list[tuple[str, int, int]] = []
    size = 0
    for name, content in blocks:
        if spans and size + len(content) > target_bytes:
            yield Chunk(b"".join(contents), spans)
            contents, spans, size = [], [], 0
        spans.append((name, size, len(content)))
        contents.append(content)
        size += len(content)
    if spans:
        yield Chunk(b"".join(contents), spans)


def _refuse_misfits(rows: BlockRows) -> None:
    count = len(rows.record_ids)
    references = (rows.record_references, rows.content_references)
    if any(column.shape != (count, REFERENCE_BYTES) or column.dtype != np.uint8 for column in references):
        raise ValueError("references must be (n, 32) bytes")
    if any(array.ndim == 0 or len(array) != count for array in rows.arrays.values()) or not kinds.fits(rows.arrays):
        raise ValueError("the arrays must be those of a kind, with n rows each")


def _without_strings(arrays: Arrays) -> Arrays:
    """Return the arrays with strings as UTF-8 bytes one after another, and how many each has."""
    plain = {name: array for name, array in arrays.items() if array.dtype.kind != "T"}
    for name in arrays.keys() - plain.keys():
        texts = [str(text).encode() for text in arrays[name]]
        plain[name] = np.frombuffer(b"".join(texts), np.uint8)
        plain[name + _LENGTHS] = np.array([len(text) for text in texts], np.int64)
    return plain


def _with_strings(tensors: Arrays) -> Arrays:
    """Read back what `_without_strings` wrote."""
    lengths = {name.removesuffix(_LENGTHS): tensors[name] for name in tensors if name.endswith(_LENGTHS)}
    arrays = {name: tensor for name, tensor in tensors.items() if not name.endswith(_LENGTHS)}
    texts = {name: np.array(_split(arrays[name], lengths[name]), np.dtypes.StringDType()) for name in lengths}
    return arrays | texts


def _split(joined: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[str]:
    if joined.dtype != np.uint8 or lengths.dtype != np.int64 or lengths.ndim != 1 or (lengths < 0).any():
        raise ValueError("record ids must be UTF-8 bytes and their lengths")
    content = joined.tobytes()
    ends = np.cumsum(lengths).tolist()
    if len(content) != (ends[-1] if ends else 0):
        raise ValueError("the lengths of the record ids do not add up")
    return [content[end - length : end].decode() for end, length in zip(ends, lengths.tolist(), strict=True)]


def _as_array(references: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(references), np.uint8).reshape(len(references), REFERENCE_BYTES)
