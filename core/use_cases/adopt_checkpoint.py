"""Take a checkpoint's directory in: its tensors' names and shapes, its config, and the digest that every later step must meet.

Torch-free, so that what will not do is refused when it is registered. Weights come as safetensors: a JSON header and bare
numbers. A pickle is never opened, whatever it is called; it is recognised and refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.domain.checkpoint import Architecture, ArchitectureKind, Shapes
from core.domain.errors import CheckpointRefused, PathNotAllowed, TooLarge, UnsafeFile
from core.settings import Settings

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
LARGEST_HEADER = 64 << 20
LARGEST_FILE = 8 << 30
FLOATS = ("F64", "F32", "F16", "BF16")
MODEL_TYPES = frozenset(
    {"bert", "distilbert", "roberta", "vit", "llama", "gpt2", "gpt_neox", "mistral", "qwen2", "phi", "opt"}
)
"""What is built from a config; each is part of the transformers library and needs no code of its own."""


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What a directory holds, read once."""

    weights: bytes
    shapes: Shapes
    config: Mapping[str, Any]
    adapter: Mapping[str, Any] | None
    adapter_weights: bytes | None
    tokenizer: bytes | None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the weights as they were registered; with an adapter, of both files' digests."""
        first = hashlib.sha256(self.weights).hexdigest()
        if self.adapter_weights is None:
            return first
        return hashlib.sha256(f"{first} {hashlib.sha256(self.adapter_weights).hexdigest()}".encode()).hexdigest()


def read_checkpoint(directory: str, kind: ArchitectureKind, settings: Settings) -> Adopted:
    """Return what a checkpoint's directory holds.

    Raises:
        PathNotAllowed: it lies outside LETHE_DATA_ROOTS.
        UnsafeFile: weights are pickled.
        CheckpointRefused: a file is missing, or is not what its name says.
        TooLarge: the weights are.
    """
    return read_directory(_allowed(directory, settings), kind)


def read_directory(path: Path, kind: ArchitectureKind) -> Adopted:
    """Return what a directory holds that may be read, by whoever may.

    Raises:
        UnsafeFile, CheckpointRefused, TooLarge: as above.
    """
    weights = _read_weights(path, WEIGHTS)
    if kind is not ArchitectureKind.HUGGING_FACE:
        return Adopted(
            weights=weights,
            shapes=tensor_shapes(weights),
            config={},
            adapter=None,
            adapter_weights=None,
            tokenizer=None,
        )
    config = read_json(path / CONFIG)
    if config.get("model_type") not in MODEL_TYPES:
        raise CheckpointRefused(f"only these kinds of model are built from a config: {', '.join(sorted(MODEL_TYPES))}")
    if "auto_map" in config:
        raise CheckpointRefused("the config asks for code of its own, and none is ever run")
    adapter = read_json(path / ADAPTER_CONFIG) if (path / ADAPTER_CONFIG).exists() else None
    tokenizer = path / TOKENIZER
    return Adopted(
        weights=weights,
        shapes=tensor_shapes(weights),
        config=config,
        adapter=adapter,
        adapter_weights=None if adapter is None else _read_weights(path, ADAPTER),
        tokenizer=tokenizer.read_bytes() if tokenizer.exists() else None,
    )


def check_shapes(architecture: Architecture, shapes: Shapes) -> None:
    """Refuse tensors of another network than a built-in architecture.

    Raises:
        CheckpointRefused: with the first names that differ.
    """
    if architecture.kind is ArchitectureKind.HUGGING_FACE:
        return
    wanted = architecture.shapes()
    for name in sorted(wanted.keys() | shapes.keys()):
        if name not in shapes:
            raise CheckpointRefused(f"the architecture has a tensor {name}, and the file does not")
        if name not in wanted:
            raise CheckpointRefused("the file holds a tensor that the architecture does not have")
        if tuple(shapes[name]) != tuple(wanted[name]):
            raise CheckpointRefused(
                f"{name} is {list(shapes[name])} in the file and {list(wanted[name])} by the architecture"
            )


def tensor_shapes(content: bytes) -> Shapes:
    """Return the shape of each tensor in a safetensors file, from its header alone.

    Raises:
        UnsafeFile: it is a pickle.
        CheckpointRefused: it is no safetensors file, or holds other than floating-point numbers.
    """
    if content.startswith(PICKLE_STARTS):
        raise UnsafeFile("the weights are pickled, whatever the file is called; save them as safetensors")
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):  # noqa: PLR2004 - the header's length
        raise CheckpointRefused("the weights are no safetensors file")
    try:
        header = json.loads(content[8 : 8 + length])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {str(name): tuple(map(int, entry["shape"])) for name, entry in entries.items()}
        kinds = {entry["dtype"] for entry in entries.values()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError):
        raise CheckpointRefused("the weights are no safetensors file") from None
    if not shapes or end != len(content) - 8 - length:
        raise CheckpointRefused("the weights are cut off, or hold no tensor")
    if kinds - {*FLOATS, "I64", "BOOL", "U8"}:
        raise CheckpointRefused("the weights are of a type that cannot be trained here")
    return shapes


def _allowed(directory: str, settings: Settings) -> Path:
    try:
        path = Path(directory).resolve()
    except (OSError, ValueError, RuntimeError):
        raise CheckpointRefused("that is no directory") from None
    if not any(path.is_relative_to(root) for root in settings.allowed_roots):
        raise PathNotAllowed("name a directory below one of those in LETHE_DATA_ROOTS")
    if not path.is_dir():
        raise CheckpointRefused("that is no directory")
    return path


def _read_weights(path: Path, name: str) -> bytes:
    file = path / name
    if not file.is_file():
        if any(one.suffix.lower() in PICKLES for one in path.iterdir()):
            raise UnsafeFile(f"the weights are pickled, and Lethe never unpickles: save them as {name}")
        raise CheckpointRefused(f"the directory holds no {name}; weights come as safetensors only")
    if file.stat().st_size > LARGEST_FILE:
        raise TooLarge(f"{name} is larger than {LARGEST_FILE >> 30} GiB")
    return file.read_bytes()


def read_json(file: Path) -> Mapping[str, Any]:
    """Return a description or a config.

    Raises:
        CheckpointRefused: it is missing or no JSON object.
    """
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointRefused(f"the directory's {file.name} is missing or no JSON object")
    return value
