"""The Merkle tree of an append-only log (RFC 6962 §2, RFC 9162 §2.1): roots, proofs, and their verification.

The tree is kept elsewhere, as hashes of complete subtrees: node (level, i) covers the leaves i·2^level up to
(i+1)·2^level, and level 0 holds the leaves. Such a node never changes once its last leaf is there, so the keeper only
ever adds. All sizes and indices count leaves; every proof costs O(log n) reads.

Proving walks the tree from the top; verifying walks the bits of the index from the bottom, as RFC 9162 writes it. They
share the hash function and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import reduce

from core.audit.encoding import HASH_BYTES

EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""(level, index) → the 32-byte hash of that complete subtree."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_completed_by(index: int, leaf: bytes, read: NodeReader) -> list[tuple[int, int, bytes]]:
    """Return what the leaf at `index` adds: itself, and each subtree of which it is the last leaf.

    Args:
        index: of the new leaf, which is the tree's size before it.
        leaf: its 32-byte `leaf_hash`.
        read: the nodes already kept.

    Returns:
        (level, index, hash) from the leaf upwards; at most 1 + log2(index + 1) of them.
    """
    completed = [(0, index, leaf)]
    while index & 1:
        level = len(completed)
        leaf = node_hash(read(level - 1, index - 1), leaf)
        index >>= 1
        completed.append((level, index, leaf))
    return completed


def root(size: int, read: NodeReader) -> bytes:
    """Return the tree head over the first `size` leaves."""
    return _hash_of(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: NodeReader) -> list[bytes]:
    """Return the hashes beside the path from leaf `index` to the root of `size` leaves, lowest first.

    Raises:
        ValueError: the tree of that size has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    begin, end, proof = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_hash_of(middle, end, read))
            end = middle
        else:
            proof.append(_hash_of(begin, middle, read))
            begin = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: NodeReader) -> list[bytes]:
    """Return the hashes that show the tree of `new` leaves to begin with the tree of `old`, lowest first.

    Raises:
        ValueError: `old` does not lie in 0..new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not extend one of {old}")
    if old == 0:
        return []
    begin, end, proof = 0, new, []
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_hash_of(middle, end, read))
            end = middle
        else:
            proof.append(_hash_of(begin, middle, read))
            begin = middle
    if begin:  # otherwise the verifier starts from the old root, which it has
        proof.append(_hash_of(begin, end, read))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], *, root: bytes) -> bool:
    """Say whether `leaf` (a leaf hash) stands at `index` in the tree of `size` leaves under `root` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *proof):
        return False
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            position, last = _past_lone_levels(position, last)
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and value == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], *, old_root: bytes, new_root: bytes) -> bool:
    """Say whether the tree of `new` leaves begins with the tree of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new or not _are_hashes(old_root, new_root, *proof):
        return False
    if old == new:
        return not proof and old_root == new_root and (old > 0 or old_root == EMPTY_ROOT)
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    return bool(path) and _climb(old - 1, new - 1, path) == (old_root, new_root)


def _climb(position: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the old and the new root that a consistency path leads to, or None when it has the wrong length."""
    while position & 1:
        position, last = position >> 1, last >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old_value, new_value = node_hash(sibling, old_value), node_hash(sibling, new_value)
            position, last = _past_lone_levels(position, last)
        else:
            new_value = node_hash(new_value, sibling)
        position, last = position >> 1, last >> 1
    return (old_value, new_value) if last == 0 else None


def _past_lone_levels(position: int, last: int) -> tuple[int, int]:
    """Climb past the levels on which the last node has no sibling and is handed up as it is."""
    while position and not position & 1:
        position, last = position >> 1, last >> 1
    return position, last


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _split(size: int) -> int:
    """Return the largest power of two below `size`, for size >= 2."""
    return 1 << (size - 1).bit_length() - 1


def _hash_of(begin: int, end: int, read: NodeReader) -> bytes:
    """Hash the leaves begin..end, where `begin` is a multiple of a power of two >= end - begin."""
    complete = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        complete.append(read(level, begin >> level))
        begin += 1 << level
    return reduce(lambda right, left: node_hash(left, right), reversed(complete))
