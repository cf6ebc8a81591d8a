from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from core.modelling.tensors import from_bytes, tensor_bytes, tensor_digest, to_bytes

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([7])}


def test_a_file_gives_back_its_tensors_in_memory_of_their_own() -> None:
    content = to_bytes(TENSORS)
    read = from_bytes(content)
    assert tensor_digest(read) == tensor_digest(TENSORS)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in read.values())


def test_equal_tensors_give_equal_files_whatever_their_order_and_strides() -> None:
    turned = {"a": TENSORS["a"], "b": TENSORS["b"].T.contiguous().T}
    assert to_bytes(turned) == to_bytes(TENSORS)
    assert tensor_digest(turned) == tensor_digest(TENSORS)


@pytest.mark.parametrize(
    "changed",
    [
        {"b": TENSORS["b"].reshape(3, 2)},
        {"b": TENSORS["b"].double()},
        {"b": TENSORS["b"] + torch.eye(2, 3) * 1e-6},
        {"c": torch.zeros(0)},
    ],
)
def test_every_part_of_a_tensor_counts(changed: dict[str, Tensor]) -> None:
    assert tensor_digest(TENSORS | changed) != tensor_digest(TENSORS)


def test_the_digest_is_the_one_that_is_written_down() -> None:
    spelled = b'lethe tensors\x00["a","torch.int64",[1]]\x00' + (7).to_bytes(8, "little")
    assert tensor_digest({"a": TENSORS["a"]}) == hashlib.sha256(spelled).hexdigest()
    assert tensor_bytes(torch.tensor([1.0])) == b"\x00\x00\x80\x3f"
