"""The records of one slice as the trainer is fed them, sorted by reference so that their order says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.domain.references import REFERENCE_BYTES


@dataclass(frozen=True)
class SliceRecords:
    """All records of one slice that are not deleted; none is legal."""

    slice: int
    references: NDArray[np.uint8]
    """(n, 32), ascending, each once."""
    content_references: NDArray[np.uint8]
    """(n, 32), keyed digests of the contents; the slice's root is made of both."""
    inputs: Tensor
    """(n, *input_shape) float32 or int64, as the backbone reads them."""
    targets: Tensor
    """(n,) int64 labels, (n,) float32 numbers in [-1, 1], or (n, tokens) int64 next tokens."""

    def __post_init__(self) -> None:
        count = len(self.references)
        same = count == len(self.content_references) == len(self.inputs) == len(self.targets)
        if not same or self.references.shape[1:] != (REFERENCE_BYTES,) or self.references.dtype != np.uint8:
            raise ValueError("a slice has one 32-byte reference, content reference, input and target per record")
        if not {self.inputs.dtype, self.targets.dtype} <= {torch.float32, torch.int64} or self.targets.ndim not in (
            1,
            2,
        ):
            raise ValueError("inputs and targets are float32 or int64, and a target is one number or a row of them")
        keys = [row.tobytes() for row in self.references]
        if any(left >= right for left, right in pairwise(keys)):
            raise ValueError("the records of a slice are sorted by reference, each once")

    def __len__(self) -> int:
        return len(self.references)

    @classmethod
    def sorted_by_reference(
        cls, number: int, references: NDArray[np.uint8], content_references: NDArray[np.uint8], **rows: Any
    ) -> SliceRecords:
        """Return the slice of records in any order; `rows` are inputs and targets."""
        order = np.lexsort(references.T[::-1])
        index = torch.from_numpy(order)
        moved = {name: values[index] for name, values in rows.items()}
        return cls(number, references[order], content_references[order], **moved)
