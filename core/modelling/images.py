"""Images as the backbone wants them: float32 in [-1, 1], channels first.

The range is the data set's contract and never read off the data, or deleting the brightest pixel would move all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(images: NDArray[Any], *, pixel_minimum: float, pixel_maximum: float) -> Tensor:
    """Return images scaled so that the contract's minimum is -1 and its maximum is 1.

    Args:
        images: (n, height, width) or (n, height, width, channels), uint8 or float32.
        pixel_minimum: lowest value the contract allows.
        pixel_maximum: highest value the contract allows.

    Returns:
        (n, channels, height, width) float32.

    Raises:
        ValueError: the shape or dtype is another, or the range is empty.
    """
    if images.dtype not in (np.uint8, np.float32) or images.ndim not in (3, 4):
        raise ValueError(f"images must be uint8 or float32 with 3 or 4 axes, got {images.dtype} with {images.ndim}")
    if not pixel_maximum > pixel_minimum:
        raise ValueError("pixel_maximum must be > pixel_minimum")
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)  # noqa: PLR2004
    # One copy into torch's own memory: its alignment is fixed, numpy's is not, and kernels round by alignment.
    pixels = torch.tensor(channels_first, dtype=torch.float32)
    return (pixels - pixel_minimum) * (2.0 / (pixel_maximum - pixel_minimum)) - 1.0


def tensor_shape(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) of images that a schema declares as (height, width) or (height, width, channels)."""
    height, width, *channels = image_shape
    return (channels[0] if channels else 1, height, width)


def shifted(images: Tensor, most: int, chance: torch.Generator) -> Tensor:
    """Return images moved by -most..most pixels each way; what moves in repeats the edge."""
    count, _, height, width = images.shape
    offsets = torch.randint(-most, most + 1, (2, count, 1), generator=chance)
    rows = (torch.arange(height) + offsets[0]).clamp_(0, height - 1)  # (n, height)
    columns = (torch.arange(width) + offsets[1]).clamp_(0, width - 1)  # (n, width)
    moved = images[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()
