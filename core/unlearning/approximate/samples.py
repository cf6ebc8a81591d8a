"""Rows as the engine is fed them: a name, an input and a target each, and batches that know where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from core.domain.canonical import canonical
from core.modelling.tensors import tensor_bytes

Stream = Literal["forget", "retain", "holdout"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of one stream."""

    stream: Stream
    rows: Tensor
    """(b,) int64, their places in the stream."""
    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def with_targets(self, targets: Tensor) -> Batch:
        return replace(self, targets=targets)


@dataclass(frozen=True, eq=False)
class Samples:
    """One stream of rows."""

    references: tuple[str, ...]
    """One per row; all that leaves the engine of them."""
    inputs: Tensor
    """(n, ...) features, images or token ids."""
    targets: Tensor
    """(n,) int64 classes, (n,) or (n, d) float32 values, or (n, t) token ids with -100 where nothing is predicted."""

    def __post_init__(self) -> None:
        if not len(self.references) == len(self.inputs) == len(self.targets):
            raise ValueError("rows have one reference, one input and one target each")
        if len(set(self.references)) != len(self.references):
            raise ValueError("a row stands in a stream once")

    def __len__(self) -> int:
        return len(self.references)

    def part(self, rows: Sequence[int]) -> Samples:
        """Return the rows at these places as a stream of their own."""
        chosen = torch.tensor(list(rows), dtype=torch.int64)
        return Samples(tuple(self.references[row] for row in rows), self.inputs[chosen], self.targets[chosen])

    def joined(self, other: Samples) -> Samples:
        """Return these rows and the others behind them."""
        references = self.references + other.references
        return Samples(references, torch.cat([self.inputs, other.inputs]), torch.cat([self.targets, other.targets]))

    def take(self, stream: Stream, rows: Tensor, device: torch.device) -> Batch:
        """Return the rows at these places, on a device."""
        return Batch(stream, rows, self.inputs[rows].to(device), self.targets[rows].to(device))

    def digest(self) -> str:
        """Return the hex digest over references, inputs and targets, in order."""
        digest = hashlib.sha256(b"lethe samples\x00" + canonical(list(self.references)))
        for tensor in (self.inputs, self.targets):
            digest.update(canonical([str(tensor.dtype), list(tensor.shape)]) + b"\x00" + tensor_bytes(tensor))
        return digest.hexdigest()


def chunks(rows: Tensor, size: int) -> Sequence[Tensor]:
    return torch.split(rows, size) if len(rows) else ()
