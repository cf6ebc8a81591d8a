from __future__ import annotations

import numpy as np
import pytest
import torch

from core.modelling.images import as_tensor, tensor_shape


def test_the_contract_and_not_the_data_decides_the_range() -> None:
    dim = np.array([[[0, 64], [128, 255]]], np.uint8)
    scaled = as_tensor(dim, pixel_minimum=0, pixel_maximum=255)
    expected = torch.tensor([[[[-1.0, 64 * 2 / 255 - 1], [128 * 2 / 255 - 1, 1.0]]]])
    torch.testing.assert_close(scaled, expected)
    assert torch.equal(as_tensor(dim[:, :1], pixel_minimum=0, pixel_maximum=255), scaled[:, :, :1])


def test_channels_come_first_afterwards() -> None:
    pictures = np.random.default_rng(0).random((2, 4, 5, 3), dtype=np.float32)
    moved = as_tensor(pictures, pixel_minimum=-1, pixel_maximum=1)
    torch.testing.assert_close(moved, torch.tensor(pictures).permute(0, 3, 1, 2))
    assert tuple(moved.shape[1:]) == tensor_shape((4, 5, 3))
    assert tensor_shape((4, 5)) == (1, 4, 5)


@pytest.mark.parametrize("images", [np.zeros((1, 2, 2)), np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2), np.int64)])
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 or float32"):
        as_tensor(images, pixel_minimum=0, pixel_maximum=1)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="pixel_maximum"):
        as_tensor(np.zeros((1, 2, 2), np.uint8), pixel_minimum=3, pixel_maximum=3)
