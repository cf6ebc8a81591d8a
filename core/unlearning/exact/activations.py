"""What stages are fed: each record's hidden state at a layer boundary, by the frozen backbone, computed once.

Batches are filled from one slice only and padded to one size, so no record of another slice can move a bit: neither
through its numbers nor through how many it is. In memory one boundary at a time, gone with the process. Where a store is
given, what was computed is kept there for other processes and later repairs; see `core.use_cases.keep_activations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.modelling.backbone import Backbone
from core.modelling.devices import backbone_on
from core.unlearning.exact.slice_records import SliceRecords

BATCH_ROWS = 64
CPU = torch.device("cpu")


class ActivationStore(Protocol):
    """Keeps states beyond a process.

    What it hands out was computed by the same backbone in the same environment, from the same content at the same place
    of a batch: then the bits are those that would be computed now.
    """

    def fill(self, hidden: Tensor, boundary: int, number: int) -> NDArray[np.bool_]:
        """Write what is kept of a slice's states below a boundary into (n, tokens, width); return (n,) where."""

    def keep(self, hidden: Tensor, boundary: int, number: int, fresh: NDArray[np.bool_]) -> None:
        """Keep the states of a slice, of which the `fresh` ones were computed just now."""


class SliceActivations:
    """One shard's slices seen through its backbone. Train nodes in depth order, so that each boundary is met once."""

    def __init__(
        self,
        backbone: Backbone,
        slices: Mapping[int, SliceRecords],
        store: ActivationStore | None = None,
        device: torch.device = CPU,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            backbone: the frozen one.
            slices: the shard's records, on the CPU.
            store: what keeps states beyond this process.
            device: where to compute and to keep states, and so where nodes are trained.
        """
        self.backbone = backbone_on(backbone, device)
        self.device = device
        self.slices = dict(slices)
        self._store = store
        self._bare = self.backbone.folded(range(backbone.shape.layers), {}, 0.0)
        self._boundary = -1
        self._hidden: dict[int, Tensor] = {}

    def at(self, boundary: int, number: int) -> Tensor:
        """Return (n, tokens, width) hidden states of a slice's records below layer `boundary`."""
        if boundary != self._boundary:
            self._boundary, self._hidden = boundary, {}
        if number not in self._hidden:
            self._hidden[number] = self._found(boundary, number)
        return self._hidden[number]

    def _found(self, boundary: int, number: int) -> Tensor:
        inputs, shape = self.slices[number].inputs, self.backbone.shape
        hidden = torch.empty(len(inputs), shape.tokens, shape.state_width, device=self.device)
        # Boundary 0 is the embedding: looking it up costs more than computing it.
        if self._store is None or boundary == 0:
            self._compute(hidden, boundary, inputs, np.zeros(len(inputs), bool))
            return hidden
        known = self._store.fill(hidden, boundary, number)
        self._compute(hidden, boundary, inputs, known)
        if not known.all():
            self._store.keep(hidden, boundary, number, ~known)
        return hidden

    @torch.no_grad()
    def _compute(self, hidden: Tensor, boundary: int, inputs: Tensor, known: NDArray[np.bool_]) -> None:
        """Compute what is not known. A batch with one unknown row is computed whole: batches are the same as ever."""
        shape = self.backbone.shape
        for start in range(0, len(inputs), BATCH_ROWS):
            if known[start : start + BATCH_ROWS].all():
                continue
            rows = inputs[start : start + BATCH_ROWS]
            padded = torch.zeros(BATCH_ROWS, *shape.input_shape, dtype=inputs.dtype)
            padded[: len(rows)] = rows
            states = self.backbone.run(self.backbone.embed(padded.to(self.device)), self._bare[:boundary])
            hidden[start : start + len(rows)] = states[: len(rows)]
