"""A checkpoint: a model that was trained elsewhere, and what must be known of it so that it can be made to forget.

    architecture (which tensors, of which shapes) + training (how to train it again) + stages (what it went through)

A manifest of a checkpoint's version names its tensors by digest. Unlike a lattice's it proves nothing about who shaped
them: what is known of that is how the version was made, and what the judge said, which stands in the certificate.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from core.domain.canonical import canonical
from core.domain.task import Modality

CHECKPOINT_FORMAT = 1
MOST_WIDTH = 65_536
MOST_LAYERS = 64


class Mode(StrEnum):
    """How a model is made to forget."""

    EXACT = "exact"
    """Trained here in slices; a deletion switches nodes off."""
    APPROXIMATE = "approximate"
    """Trained elsewhere; a method changes its weights, and the judge decides what became of them."""


class ArchitectureKind(StrEnum):
    PERCEPTRON = "perceptron"
    """Linear layers with ReLU between them; images are flattened first."""
    CONVOLUTIONAL = "convolutional"
    """3 x 3 convolutions with ReLU, the first of stride 2, then a perceptron."""
    HUGGING_FACE = "hugging_face"
    """What a config.json says, built by the transformers library without any code of the checkpoint's own."""


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Which network the tensors belong to."""

    kind: ArchitectureKind
    inputs: tuple[int, ...]
    """(features,) or (channels, height, width): what one row is, after its data set's contract scaled it."""
    outputs: int
    channels: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    """hugging_face: the contents of config.json."""
    adapter: Mapping[str, Any] | None = None
    """hugging_face: the contents of adapter_config.json, where low-rank factors lie beside the weights."""
    tokens: int | None = None
    """hugging_face, texts: how many tokens of a text are read."""

    def __post_init__(self) -> None:
        widths = (*self.channels, *self.hidden, self.outputs)
        if any(not 1 <= width <= MOST_WIDTH for width in widths):
            raise ValueError(f"widths must lie in 1..{MOST_WIDTH}")
        if len(widths) > MOST_LAYERS:
            raise ValueError(f"at most {MOST_LAYERS} layers")
        if self.kind is ArchitectureKind.CONVOLUTIONAL and (len(self.inputs) != 3 or not self.channels):  # noqa: PLR2004
            raise ValueError("a convolutional network reads images and names its channels")
        if self.kind is ArchitectureKind.PERCEPTRON and self.channels:
            raise ValueError("a perceptron has no channels")

    def shapes(self) -> Shapes:
        """Return the shape of every tensor of a built-in network, named as `torch.nn.Sequential` names them."""
        shapes: dict[str, tuple[int, ...]] = {}
        at, width = 0, math.prod(self.inputs)
        if self.kind is ArchitectureKind.CONVOLUTIONAL:
            before, height, across = self.inputs
            for number, channels in enumerate(self.channels):
                shapes |= {f"{at}.weight": (channels, before, 3, 3), f"{at}.bias": (channels,)}
                if number == 0:
                    height, across = (height + 1) // 2, (across + 1) // 2
                at, before = at + 2, channels
            at, width = at + 1, before * height * across
        elif len(self.inputs) > 1:
            at = 1  # the flattening comes first
        for following in (*self.hidden, self.outputs):
            shapes |= {f"{at}.weight": (following, width), f"{at}.bias": (following,)}
            at, width = at + 2, following
        return shapes

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "inputs": list(self.inputs),
            "channels": list(self.channels),
            "hidden": list(self.hidden),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Architecture:
        lists = {name: tuple(value[name]) for name in ("inputs", "channels", "hidden")}
        return cls(**{**value, **lists, "kind": ArchitectureKind(value["kind"])})


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train the network again from nothing: AdamW, the rate falling as half a cosine. What a retrain means."""

    epochs: int
    learning_rate: float
    batch_size: int = 64
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 10_000:  # noqa: PLR2004
            raise ValueError("epochs must lie in 1..10000")
        if not 0 < self.learning_rate <= 10:  # noqa: PLR2004
            raise ValueError("learning_rate must lie between 0 and 10")
        if not 1 <= self.batch_size <= 1_000_000:  # noqa: PLR2004
            raise ValueError("batch_size must lie in 1..1000000")
        if not 0 <= self.weight_decay <= 1_000_000:  # noqa: PLR2004
            raise ValueError("weight_decay must not be negative")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of how the checkpoint came to be, as its owner tells it."""

    name: str
    """pretraining, fine_tuning, …: a word."""
    data: str
    """Hex SHA-256 of whatever names the stage's data; the data set of the model for the stage that learned it."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """Everything about a checkpoint that is fixed at registration."""

    modality: Modality
    architecture: Architecture
    training: Training | None
    """None: nobody knows any more, so nothing can be retrained and no judge be qualified."""
    stages: tuple[Stage, ...]
    file_digest: str
    """Hex SHA-256 of the file that was registered."""
    tensor_digest: str | None = None
    evaluation: str | None = None
    """Identifier of the data set whose rows no training saw: half of them are held out, half are tests."""
    tokenizer: Mapping[str, str] | None = None
    """Where the splitter of texts lies: key_id and object_digest."""

    @property
    def staged(self) -> bool:
        """Whether it was trained in several stages, so that what a retrain would be is not defined."""
        return len(self.stages) > 1

    def stage_history(self) -> str:
        """Return the hex digest of the stages, in order."""
        return hashlib.sha256(b"lethe stages\x00" + canonical([asdict(one) for one in self.stages])).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "format": CHECKPOINT_FORMAT,
            "modality": self.modality,
            "architecture": self.architecture.as_json(),
            "training": None if self.training is None else asdict(self.training),
            "stages": [asdict(one) for one in self.stages],
            "stage_history": self.stage_history(),
            "file_digest": self.file_digest,
            "evaluation": self.evaluation,
            "tokenizer": None if self.tokenizer is None else dict(self.tokenizer),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckpointRecipe:
        return cls(
            modality=Modality(value["modality"]),
            architecture=Architecture.from_json(value["architecture"]),
            training=None if value["training"] is None else Training(**value["training"]),
            stages=tuple(Stage(**one) for one in value["stages"]),
            file_digest=value["file_digest"],
            evaluation=value["evaluation"],
            tokenizer=value.get("tokenizer"),
        )

    def digest(self) -> str:
        """Return the hex digest of what a retrain depends on: where its splitter lies does not."""
        inputs = {name: value for name, value in self.as_json().items() if name not in {"tokenizer", "evaluation"}}
        return hashlib.sha256(b"lethe checkpoint recipe\x00" + canonical(inputs)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CheckpointManifest:
    """The content of a version of a checkpoint: which tensors are served, and how they were made."""

    recipe: str
    """Hex digest."""
    stage_history: str
    tensors: str
    """Hex digest of the served tensors."""
    made_by: str
    """`registration`, or the method's name."""
    run: str | None = None
    """Hex digest of all that decides the run's bits; None for a registration."""

    def digest(self) -> str:
        return hashlib.sha256(canonical(self.as_json())).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {"v": CHECKPOINT_FORMAT, "kind": "checkpoint", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckpointManifest:
        """Read back what `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the value is no manifest of a checkpoint.
        """
        if value["v"] != CHECKPOINT_FORMAT or value["kind"] != "checkpoint":
            raise ValueError("this is no manifest of a checkpoint")
        return cls(**{name: one for name, one in value.items() if name not in {"v", "kind"}})


def is_checkpoint_manifest(value: Mapping[str, Any]) -> bool:
    return value.get("kind") == "checkpoint"
