"""A checkpoint of somebody else's: what its architecture is, and its weights, never unpickled.

    architecture.json    {"schema": "lethe.architecture/1", "kind": "perceptron", "modality": "classifier", …}
    config.json          instead: a Hugging Face directory of a Llama-shaped causal language model
    model.safetensors    the tensors, by the names that the network gives them

`read_checkpoint` takes the files as bytes by name, so a directory, an upload and an object store are read alike. A new
architecture is one line in `KINDS`: the sizes it is described by, and what builds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from core.domain.errors import BadInput, Flaw, UnreadableFile, UnsafeFile
from core.methods.card import Modality
from core.modelling.causal_transformer import CausalTransformer, CausalTransformerShape
from core.modelling.networks import convolutional, flat_perceptron, halving_once
from core.modelling.tensors import NamedTensors, from_bytes

SCHEMA = "lethe.architecture/1"
ARCHITECTURE, HUGGING_FACE, WEIGHTS = "architecture.json", "config.json", "model.safetensors"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
PICKLED_STARTS = (b"PK\x03\x04", b"\x80")
"""A zip, as torch.save writes it, and the first byte of a pickle."""
LARGEST_SIZE = 1 << 20
MOST_LAYERS = 256

Sizes = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One architecture: its numbers, its lists of numbers, and what they build."""

    modalities: frozenset[Modality]
    build: Callable[[Sizes], nn.Module]
    numbers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    """Left to the network's own defaults when they are not given; of any JSON kind."""


def _llama(sizes: Sizes) -> nn.Module:
    return CausalTransformer(CausalTransformerShape(**sizes))


_ANSWERS = frozenset({Modality.CLASSIFIER, Modality.REGRESSOR})
KINDS: Mapping[str, Kind] = {
    "perceptron": Kind(
        _ANSWERS,
        lambda one: flat_perceptron(one["inputs"], one["hidden"], one["outputs"]),
        numbers=("outputs",),
        lists=("inputs", "hidden"),
    ),
    "convolutional": Kind(
        _ANSWERS,
        lambda one: convolutional(
            tuple(one["inputs"]), one["channels"], halving_once(one["channels"]), one["hidden"], one["outputs"]
        ),
        numbers=("outputs",),
        lists=("inputs", "channels", "hidden"),
    ),
    "llama": Kind(
        frozenset({Modality.CAUSAL_LANGUAGE_MODEL}),
        _llama,
        numbers=(
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        ),
        optional=("rope_theta", "rms_norm_eps", "tie_word_embeddings"),
    ),
}


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint is of; equal descriptions build equal networks."""

    kind: str
    modality: Modality
    sizes: Sizes

    def build(self) -> nn.Module:
        """Return a fresh network, drawn from torch's own stream of chance.

        Raises:
            BadInput: the sizes do not fit together.
        """
        try:
            return KINDS[self.kind].build(self.sizes)
        except (ValueError, TypeError, RuntimeError) as wrong:
            raise BadInput(f"the sizes of this {self.kind} do not fit together: {wrong}") from None

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "kind": self.kind, "modality": self.modality.value, **self.sizes}


@dataclass(frozen=True)
class Checkpoint:
    architecture: Architecture
    model: nn.Module
    """In evaluation mode, every parameter trainable."""


def read_directory(directory: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint's directory that are read, by name.

    Raises:
        UnsafeFile: there is a pickle and no safetensors file.
        UnreadableFile: there is nothing to read.
    """
    names = sorted(file.name for file in directory.iterdir()) if directory.is_dir() else []
    wanted = [name for name in (ARCHITECTURE, HUGGING_FACE, WEIGHTS) if name in names]
    if WEIGHTS not in wanted:
        refuse_pickles(names)
        raise UnreadableFile(f"{directory} holds no {WEIGHTS}")
    return {name: (directory / name).read_bytes() for name in wanted}


def read_checkpoint(files: Mapping[str, bytes]) -> Checkpoint:
    """Read a checkpoint from its files.

    Raises:
        UnsafeFile: it holds pickled objects.
        UnreadableFile: a file is missing, or is not what its name promises.
        BadInput: the description or the tensors are not those of an architecture that is known here.
    """
    refuse_pickles(files)
    if WEIGHTS not in files:
        raise UnreadableFile(f"a checkpoint has a file {WEIGHTS}")
    architecture = read_architecture(files)
    return Checkpoint(architecture, load(architecture, tensors_of(files[WEIGHTS])))


def refuse_pickles(names: Mapping[str, bytes] | list[str]) -> None:
    """Raise UnsafeFile if a file is named as a pickle is."""
    for name in names:
        if name.endswith(PICKLED):
            raise UnsafeFile(f"{name} holds pickled objects, which can run code; save the weights as safetensors")


def read_architecture(files: Mapping[str, bytes]) -> Architecture:
    """Return what a checkpoint's description says.

    Raises:
        UnreadableFile: there is none, or it is no JSON object.
        BadInput: it describes nothing that is known here; every flaw has its pointer.
    """
    name = ARCHITECTURE if ARCHITECTURE in files else HUGGING_FACE
    if name not in files:
        raise UnreadableFile(f"a checkpoint has a file {ARCHITECTURE}, or a {HUGGING_FACE} of Hugging Face's")
    try:
        given = json.loads(files[name])
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{name} is no JSON") from None
    if not isinstance(given, dict):
        raise UnreadableFile(f"{name} is no JSON object")
    return architecture_from(given if name == ARCHITECTURE else _from_hugging_face(given))


def architecture_from(given: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a description means.

    Raises:
        BadInput: with a flaw for everything that is wrong.
    """
    kind = KINDS.get(given.get("kind", "")) if isinstance(given.get("kind"), str) else None
    if given.get("schema") != SCHEMA or kind is None:
        raise BadInput(f"a description has schema {SCHEMA} and a kind among {', '.join(KINDS)}")
    flaws = [*_flaws(given, kind)]
    if flaws:
        raise BadInput("; ".join(f"{flaw.pointer} {flaw.detail}" for flaw in flaws), flaws=flaws)
    names = (*kind.numbers, *kind.lists, *kind.optional)
    sizes = {name: given[name] for name in names if name in given}
    return Architecture(given["kind"], Modality(given["modality"]), sizes)


def _flaws(given: Mapping[str, Any], kind: Kind) -> list[Flaw]:
    known = {"schema", "kind", "modality", *kind.numbers, *kind.lists, *kind.optional}
    flaws = [Flaw(f"/{name}", "unknown_field", "is not part of this kind") for name in sorted(given.keys() - known)]
    if given.get("modality") not in kind.modalities:
        flaws.append(Flaw("/modality", "invalid", f"must be one of {', '.join(sorted(kind.modalities))}"))
    flaws += [
        Flaw(f"/{name}", "invalid", f"must be a whole number in 1..{LARGEST_SIZE}")
        for name in kind.numbers
        if not _is_size(given.get(name))
    ]
    flaws += [
        Flaw(f"/{name}", "invalid", f"must be a list of at most {MOST_LAYERS} whole numbers in 1..{LARGEST_SIZE}")
        for name in kind.lists
        if not isinstance(given.get(name), list)
        or len(given[name]) > MOST_LAYERS
        or not all(map(_is_size, given[name]))
    ]
    return flaws


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIZE


def _from_hugging_face(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("model_type") != "llama":
        raise BadInput(f"of Hugging Face's models, this reads llama; {HUGGING_FACE} says {config.get('model_type')!r}")
    if config.get("rope_scaling") or config.get("attention_bias") or config.get("mlp_bias"):
        raise BadInput("rope_scaling, attention_bias and mlp_bias are not read here")
    if config.get("hidden_act", "silu") != "silu":
        raise BadInput("a llama's hidden_act is silu")
    kind = KINDS["llama"]
    names = (*kind.numbers, *kind.optional)
    found = {name: config[name] for name in names if name in config}
    found.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    return {"schema": SCHEMA, "kind": "llama", "modality": Modality.CAUSAL_LANGUAGE_MODEL.value, **found}


def tensors_of(content: bytes) -> NamedTensors:
    """Return the tensors of a safetensors file, halves as whole floats.

    Raises:
        UnsafeFile: it is a pickle, whatever it is called.
        UnreadableFile: it is no safetensors file.
    """
    if content.startswith(PICKLED_STARTS):
        raise UnsafeFile(f"{WEIGHTS} holds pickled objects, which can run code; save the weights as safetensors")
    try:
        found = from_bytes(content)
    except SafetensorError:
        raise UnreadableFile(f"{WEIGHTS} is no safetensors file") from None
    halves = (torch.float16, torch.bfloat16)
    return {name: one.float() if one.dtype in halves else one for name, one in found.items()}


def load(architecture: Architecture, tensors: NamedTensors) -> nn.Module:
    """Return the network with these tensors, ready to answer.

    Raises:
        BadInput: a tensor is missing, has another shape or type, is not finite, or belongs to nothing.
    """
    with torch.random.fork_rng([]):
        model = architecture.build()
    wanted = model.state_dict()
    tied = {"lm_head.weight"} if architecture.sizes.get("tie_word_embeddings") else set()
    given = {name: one for name, one in tensors.items() if name not in tied}
    missing, more = sorted(wanted.keys() - tied - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or more:
        raise BadInput(f"tensors do not fit the architecture: missing {missing[:3]}, unknown {more[:3]}")
    for name, one in given.items():
        if one.shape != wanted[name].shape or one.dtype != wanted[name].dtype:
            raise BadInput(
                f"{name} is {one.dtype} {tuple(one.shape)}, not {wanted[name].dtype} {tuple(wanted[name].shape)}"
            )
        if one.is_floating_point() and not one.isfinite().all():
            raise BadInput(f"{name} holds numbers that are not finite")
    model.load_state_dict(given, strict=False)  # what is tied is loaded under its other name
    return model.eval()
