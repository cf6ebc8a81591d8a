"""What a node of a ridge model holds: its records' features in fixed point, row by row, so that any one can be taken out.

No torch: a deletion takes records out while nothing is loaded that trains. Features are sufficient: sums and head follow
from them (`core.modelling.moments`), and what is left after a deletion is, byte for byte, what a fresh build on the retained
records holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.domain.canonical import canonical


@dataclass(frozen=True, kw_only=True)
class RidgeRows:
    """One shard's records, ascending by reference; none is legal."""

    references: NDArray[np.uint8]
    """(n, 32) keyed reference of each record."""
    contents: NDArray[np.uint8]
    """(n, 32) keyed digest of each record's content."""
    fed: NDArray[np.uint8]
    """(n, 32) digest of the input and target that were really read."""
    features: NDArray[np.int32]
    """(n, width) in units of 2^-16."""
    targets: NDArray[np.int32]
    """(n,) the label's index, or a number in units of 2^-16."""

    def __post_init__(self) -> None:
        count = len(self.references)
        if any(len(column) != count for column in self.columns().values()) or self.features.ndim != 2:  # noqa: PLR2004
            raise ValueError("every record has a reference, a content, a digest, features and a target")

    def __len__(self) -> int:
        return len(self.references)

    def columns(self) -> dict[str, NDArray[Any]]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def without(self, references: Collection[bytes]) -> RidgeRows:
        """Return the rows of all other records; a reference that is not here changes nothing."""
        gone = frozenset(references)
        kept = [row for row, reference in enumerate(self.references) if reference.tobytes() not in gone]
        return RidgeRows(**{name: column[kept] for name, column in self.columns().items()})

    def leaves(self) -> list[bytes]:
        """Return the 64-byte leaves that the slice's commitment is made of."""
        return [one.tobytes() + other.tobytes() for one, other in zip(self.references, self.contents, strict=True)]

    def data_digest(self, key: str) -> str:
        """Return the hex digest over what was read for the node of this key."""
        digest = hashlib.sha256(b"lethe fed rows\x00" + canonical([key]) + b"\x00")
        for reference, fed in zip(self.references, self.fed, strict=True):
            digest.update(reference.tobytes() + fed.tobytes())
        return digest.hexdigest()

    def tensor_digest(self) -> str:
        """Return what `core.modelling.tensors.tensor_digest` says of the same columns, without torch."""
        digest = hashlib.sha256(b"lethe tensors\x00")
        for name, column in sorted(self.columns().items()):
            digest.update(canonical([name, f"torch.{column.dtype.name}", list(column.shape)]) + b"\x00")
            digest.update(np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<"), copy=False).tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        return save({name: np.ascontiguousarray(column) for name, column in sorted(self.columns().items())})

    @classmethod
    def from_bytes(cls, content: bytes) -> RidgeRows:
        """Read back what `to_bytes` wrote.

        Raises:
            ValueError: the content is something else.
        """
        try:
            return cls(**load(content))
        except (SafetensorError, TypeError):
            raise ValueError("the bytes are no rows of a ridge head") from None
