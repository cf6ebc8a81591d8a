"""Named tensors as bytes and as a digest: one spelling each, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

from core.domain.canonical import canonical

NamedTensors = dict[str, Tensor]


def bytes_tensor(content: bytes) -> Tensor:
    """Return bytes as a tensor of bytes, so that they may lie among the others and are part of their digest."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).clone()


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the elements in row-major order, little-endian."""
    array = tensor.detach().cpu().contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the hex digest over sorted names, dtypes, shapes and little-endian bytes."""
    digest = hashlib.sha256(b"lethe tensors\x00")
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(canonical([name, str(tensor.dtype), list(tensor.shape)]) + b"\x00")
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file; equal tensors give equal bytes."""
    return save({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)})


def from_bytes(content: bytes) -> NamedTensors:
    """Read back what `to_bytes` wrote.

    Raises:
        safetensors.SafetensorError: the content is no safetensors file.
    """
    # Cloned: the loader's tensors are views into `content`, aligned by accident, and kernels round by alignment.
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in load(content).items()}
