"""The one door through which records reach a trainer, and the digest of what really went through it.

An epoch's order sorts records by sha256(node key ‖ epoch ‖ record reference): dropping a record moves no other past
its neighbours, and no stream of random numbers is shared. Batches all have one size; what pads them weighs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.domain.canonical import canonical
from core.unlearning.exact.activations import SliceActivations

PADDING = -1


class Batch(NamedTuple):
    hidden: Tensor
    """(batch, tokens, width), zero where it is padded."""
    targets: Tensor
    """(batch,) int64 labels or float32 numbers, (batch, tokens) int64 next tokens; 0 where it is padded."""
    weights: Tensor
    """(batch,) 1 for a record, 0 for padding."""


class Loader:
    """Feeds the union of a node's slices, epoch by epoch, and hashes each row as it hands it out."""

    def __init__(self, key: str, slices: Sequence[int], activations: SliceActivations, boundary: int) -> None:
        parts = [activations.slices[number] for number in slices]
        shape = activations.backbone.shape
        self._key = bytes.fromhex(key)
        self._references = np.concatenate([part.references for part in parts])
        self._inputs = _little_endian(torch.cat([part.inputs for part in parts]))
        # One row of padding at the end, where index -1 finds it.
        self._targets = torch.cat(
            [
                *(part.targets for part in parts),
                torch.zeros(1, *parts[0].targets.shape[1:], dtype=parts[0].targets.dtype),
            ]
        )
        hidden = [activations.at(boundary, number) for number in slices]
        self._device = activations.device
        self._hidden = torch.cat([*hidden, torch.zeros(1, shape.tokens, shape.state_width, device=self._device)])
        header = canonical([key, list(slices), list(shape.input_shape)])
        self._digest = hashlib.sha256(b"lethe fed data\x00" + header + b"\x00")

    def __len__(self) -> int:
        return len(self._references)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        """Yield every record once, in batches of exactly `batch_size` rows."""
        order = self._order(number)
        padded = np.full(-(-len(order) // batch_size) * batch_size, PADDING, dtype=np.int64)
        padded[: len(order)] = order
        for rows in padded.reshape(-1, batch_size):
            index = torch.from_numpy(np.where(rows == PADDING, len(self), rows))
            hidden = self._hidden[index.to(self._device)]
            batch = Batch(hidden, self._targets[index], torch.tensor(rows != PADDING, dtype=torch.float32))
            self._witness(number, rows[rows != PADDING], batch)
            yield Batch(hidden, batch.targets.to(self._device), batch.weights.to(self._device))

    def data_digest(self) -> str:
        """Return the hex digest over everything yielded so far, in order."""
        return self._digest.hexdigest()

    def _order(self, epoch: int) -> list[int]:
        prefix = self._key + epoch.to_bytes(4, "big")
        ranks = [hashlib.sha256(prefix + reference.tobytes()).digest() for reference in self._references]
        return sorted(range(len(ranks)), key=ranks.__getitem__)

    def _witness(self, epoch: int, rows: np.ndarray[tuple[int], np.dtype[np.int64]], batch: Batch) -> None:
        self._digest.update(epoch.to_bytes(4, "big") + len(rows).to_bytes(4, "big"))
        self._digest.update(self._references[rows].tobytes())
        self._digest.update(self._inputs[rows].tobytes())
        self._digest.update(_little_endian(batch.targets[: len(rows)]).tobytes())


def _little_endian(tensor: Tensor) -> NDArray[Any]:
    array = tensor.numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
