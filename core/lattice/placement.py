"""Placement: where an owner's records are learned, from a secret key and the owner's reference alone.

    v = HMAC-SHA256(placement key, owner reference)[:8] as a big-endian integer, mod shards * slices
    shard = v // slices        slice = v % slices

No other owner enters the formula, so deleting anybody moves nobody else (DESIGN §4.1), and without the key nobody can
tell who shares a slice with whom. `docs/placement.md` has the same with a table of test vectors.

    >>> import hashlib
    >>> place(bytes(range(32)), hashlib.sha256(b"owner").digest(), shards=5, slices=4)
    Place(shard=2, slice=2)
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from core.domain.model import PLACEMENT_KEY_BYTES
from core.domain.references import REFERENCE_BYTES


@dataclass(frozen=True, order=True)
class Place:
    """One slice of one shard; both count from 0."""

    shard: int
    slice: int


def place(placement_key: bytes, owner: bytes, *, shards: int, slices: int) -> Place:
    """Return where the records of an owner are learned.

    Args:
        placement_key: the model's 32 secret bytes.
        owner: the owner's 32-byte reference.
        shards: number of shards, m >= 1.
        slices: number of slices in each, L >= 1.

    Raises:
        ValueError: the key or the reference has another length, or the lattice is empty.
    """
    if len(placement_key) != PLACEMENT_KEY_BYTES:
        raise ValueError(f"a placement key has {PLACEMENT_KEY_BYTES} bytes, got {len(placement_key)}")
    if len(owner) != REFERENCE_BYTES:
        raise ValueError(f"an owner reference has {REFERENCE_BYTES} bytes, got {len(owner)}")
    if shards < 1 or slices < 1:
        raise ValueError(f"a lattice has at least one shard and one slice, got {shards=} {slices=}")
    value = int.from_bytes(hmac.digest(placement_key, owner, "sha256")[:8], "big") % (shards * slices)
    return Place(*divmod(value, slices))
