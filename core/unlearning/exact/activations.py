"""What stages are fed: each record's hidden state at a layer boundary, by the frozen backbone, computed once.

Batches are filled from one slice only and padded to one size, so no record of another slice can move a bit: neither
through its numbers nor through how many it is. In memory only, one boundary at a time; gone with the process.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.modelling.backbone import Backbone
from core.unlearning.exact.slice_records import SliceRecords

BATCH_ROWS = 64


class SliceActivations:
    """One shard's slices seen through its backbone. Train nodes in depth order, so that each boundary is met once."""

    def __init__(self, backbone: Backbone, slices: Mapping[int, SliceRecords]) -> None:
        self.backbone = backbone
        self.slices = dict(slices)
        self._bare = backbone.folded(range(backbone.shape.layers), {}, 0.0)
        self._boundary = -1
        self._hidden: dict[int, Tensor] = {}

    def at(self, boundary: int, number: int) -> Tensor:
        """Return (n, tokens, width) hidden states of a slice's records below layer `boundary`."""
        if boundary != self._boundary:
            self._boundary, self._hidden = boundary, {}
        if number not in self._hidden:
            self._hidden[number] = self._computed(boundary, self.slices[number].inputs)
        return self._hidden[number]

    @torch.no_grad()
    def _computed(self, boundary: int, inputs: Tensor) -> Tensor:
        shape = self.backbone.shape
        hidden = torch.empty(len(inputs), shape.tokens, shape.state_width)
        for start in range(0, len(inputs), BATCH_ROWS):
            rows = inputs[start : start + BATCH_ROWS]
            padded = torch.zeros(BATCH_ROWS, *shape.input_shape, dtype=inputs.dtype)
            padded[: len(rows)] = rows
            states = self.backbone.run(self.backbone.embed(padded), self._bare[:boundary])
            hidden[start : start + len(rows)] = states[: len(rows)]
        return hidden
