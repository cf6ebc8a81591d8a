"""Plain networks that a checkpoint may be of: a perceptron and a small convolutional network, as `torch.nn.Sequential`.

Their tensors are named as `Sequential` names them (`0.weight`, `2.bias`, …), so what anybody trained in plain torch loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn


def perceptron(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return layers of these widths with rectifiers in between; without hidden ones, a linear model."""
    widths = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(
    image_shape: tuple[int, int, int],
    channels: Sequence[int],
    strides: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
) -> nn.Sequential:
    """Return 3 x 3 convolutions with rectifiers, then a perceptron over what they leave.

    Args:
        image_shape: channels, height, width.
        channels: of each convolution.
        strides: of each convolution, as many.
        hidden: widths of the layers between the last convolution and the answer.
        outputs: how many numbers it answers with.

    Raises:
        ValueError: there are not as many strides as channels, or an image has other than three dimensions.
    """
    if len(image_shape) != 3:  # noqa: PLR2004 - channels, height, width
        raise ValueError(f"an image is (channels, height, width), got {image_shape}")
    layers: list[nn.Module] = []
    before, *edges = image_shape
    for after, stride in zip(channels, strides, strict=True):
        layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.ReLU()]
        before, edges = after, [(edge - 1) // stride + 1 for edge in edges]
    return nn.Sequential(*layers, nn.Flatten(), *perceptron(before * prod(edges), hidden, outputs))


def flat_perceptron(inputs: Sequence[int], hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return a perceptron for rows of any shape; what is more than a vector is flattened first."""
    flatten = [nn.Flatten()] if len(inputs) > 1 else []
    return nn.Sequential(*flatten, *perceptron(prod(inputs), hidden, outputs))


def halving_once(channels: Sequence[int]) -> list[int]:
    """Return the strides of convolutions of which only the first makes the picture smaller."""
    return [2] * min(1, len(channels)) + [1] * (len(channels) - 1)
