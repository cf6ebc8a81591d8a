"""The commitment to a slice: a Merkle tree of its records in order, so that a gap between neighbours proves absence.

A leaf is 64 bytes: keyed record reference ‖ keyed content reference; leaves stand in the order of their record
references, hashed as in RFC 6962. What a manifest publishes binds the tree's size too, because only a known size tells
the last leaf from any other. That the committed leaves are sorted is the committer's word; replay checks it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from core.audit import log
from core.audit.encoding import HASH_BYTES, decode_hash

LEAF_BYTES = 2 * HASH_BYTES


@dataclass(frozen=True)
class Neighbour:
    """A leaf beside the gap, and the hashes that place it in the tree."""

    leaf: bytes
    path: tuple[bytes, ...]

    @property
    def record(self) -> bytes:
        return self.leaf[:HASH_BYTES]


@dataclass(frozen=True, kw_only=True)
class AbsenceProof:
    """Two leaves that stand side by side with nothing between them; one of them at either end, none in an empty tree."""

    size: int
    """Leaves in the tree."""
    root: bytes
    """Its RFC 6962 root, 32 bytes."""
    position: int
    """How many leaves sort before the absent record."""
    before: Neighbour | None
    after: Neighbour | None

    def as_json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "root": self.root.hex(),
            "position": self.position,
            "before": _neighbour_as_json(self.before),
            "after": _neighbour_as_json(self.after),
        }

    @classmethod
    def from_json(cls, value: Any) -> AbsenceProof:
        """Read back what `as_json` wrote, or raise ValueError."""
        if not isinstance(value, Mapping) or set(value) != {"size", "root", "position", "before", "after"}:
            raise ValueError("an absence proof has size, root, position, before and after")
        if type(value["size"]) is not int or type(value["position"]) is not int:
            raise ValueError("an absence proof's size and position are integers")
        return cls(
            size=value["size"],
            root=decode_hash(value["root"]),
            position=value["position"],
            before=_neighbour_from_json(value["before"]),
            after=_neighbour_from_json(value["after"]),
        )


@dataclass(frozen=True)
class SortedTree:
    """A slice's tree with all its levels, for whoever proves several absences from one slice."""

    leaves: tuple[bytes, ...]
    levels: tuple[tuple[bytes, ...], ...]
    """Hashes of complete subtrees, leaves first."""

    @classmethod
    def of(cls, leaves: Iterable[bytes]) -> SortedTree:
        """Build the tree of leaves given in any order.

        Raises:
            ValueError: a leaf is not 64 bytes, or two leaves name one record.
        """
        ordered = tuple(sorted(leaves))
        if any(len(leaf) != LEAF_BYTES for leaf in ordered):
            raise ValueError(f"a leaf has {LEAF_BYTES} bytes")
        if any(left[:HASH_BYTES] == right[:HASH_BYTES] for left, right in pairwise(ordered)):
            raise ValueError("two leaves name one record")
        levels = [tuple(map(log.leaf_hash, ordered))]
        while len(below := levels[-1]) > 1:
            levels.append(tuple(map(log.node_hash, below[::2], below[1::2])))  # an odd last one waits for a sibling
        return cls(ordered, tuple(levels))

    @property
    def root(self) -> bytes:
        return log.root(len(self.leaves), self._read)

    @property
    def commitment(self) -> str:
        return _commitment(len(self.leaves), self.root)

    def prove_absent(self, record: bytes) -> AbsenceProof:
        """Prove that no leaf carries this 32-byte record reference, or raise ValueError because one does."""
        if len(record) != HASH_BYTES:
            raise ValueError(f"a record reference has {HASH_BYTES} bytes")
        position, size = bisect_left(self.leaves, record), len(self.leaves)
        if position < size and self.leaves[position][:HASH_BYTES] == record:
            raise ValueError("the record is in the slice")
        return AbsenceProof(
            size=size,
            root=self.root,
            position=position,
            before=self._neighbour(position - 1) if position else None,
            after=self._neighbour(position) if position < size else None,
        )

    def _neighbour(self, index: int) -> Neighbour:
        return Neighbour(self.leaves[index], tuple(log.inclusion_proof(index, len(self.leaves), self._read)))

    def _read(self, level: int, index: int) -> bytes:
        return self.levels[level][index]


def commit(leaves: Iterable[bytes]) -> str:
    """Return the hex commitment to a slice's 64-byte leaves, given in any order; ValueError as `SortedTree.of`."""
    return SortedTree.of(leaves).commitment


def prove_absent(leaves: Iterable[bytes], record: bytes) -> AbsenceProof:
    """Prove that no leaf carries this record reference; ValueError when one does."""
    return SortedTree.of(leaves).prove_absent(record)


def verify_absent(proof: AbsenceProof, commitment_hex: str, record: bytes) -> bool:
    """Say whether the proof shows that the slice behind the commitment does not hold this record reference."""
    if len(record) != HASH_BYTES or not 0 <= proof.position <= proof.size < 2**63:
        return False
    if _commitment(proof.size, proof.root) != commitment_hex:
        return False
    if (proof.before is None) != (proof.position == 0) or (proof.after is None) != (proof.position == proof.size):
        return False
    if proof.size == 0:
        return proof.root == log.EMPTY_ROOT
    ascending = [*_records(proof.before), record, *_records(proof.after)]
    return (
        all(left < right for left, right in pairwise(ascending))
        and _stands_at(proof.before, proof.position - 1, proof)
        and _stands_at(proof.after, proof.position, proof)
    )


def _records(neighbour: Neighbour | None) -> Sequence[bytes]:
    return () if neighbour is None else (neighbour.record,)


def _stands_at(neighbour: Neighbour | None, index: int, proof: AbsenceProof) -> bool:
    if neighbour is None:
        return True
    leaf = log.leaf_hash(neighbour.leaf)
    return len(neighbour.leaf) == LEAF_BYTES and log.verify_inclusion(
        index, proof.size, leaf, neighbour.path, root=proof.root
    )


def _commitment(size: int, root: bytes) -> str:
    return hashlib.sha256(b"lethe slice\x00" + size.to_bytes(8, "big") + root).hexdigest()


def _neighbour_as_json(neighbour: Neighbour | None) -> dict[str, Any] | None:
    if neighbour is None:
        return None
    return {"leaf": neighbour.leaf.hex(), "path": [value.hex() for value in neighbour.path]}


def _neighbour_from_json(value: Any) -> Neighbour | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"leaf", "path"} or not isinstance(value["path"], list):
        raise ValueError("a neighbour has a leaf and a path")
    leaf = value["leaf"]
    if not isinstance(leaf, str):
        raise ValueError("a leaf is hex digits")  # noqa: TRY004 - one kind of error for evidence that cannot be read
    halves = decode_hash(leaf[:LEAF_BYTES]) + decode_hash(leaf[LEAF_BYTES:])
    return Neighbour(halves, tuple(map(decode_hash, value["path"])))
