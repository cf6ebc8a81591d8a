"""What a method is made of: phases, each of passes over rows or of one edit of the weights. Declared, run by the engine.

    Recipe ─▶ Phase (one optimiser) ─▶ epoch ─▶ Pass (selector + terms) ─▶ step
                  └─ or an edit step: weights in, weights out

A term is a value per row. The engine divides by counts over the whole step, so how a step is split to fit into memory
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import Tensor

from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.masks import Mask
from core.unlearning.approximate.samples import Batch, Stream
from core.unlearning.approximate.selectors import Selector
from core.unlearning.approximate.stops import Stop

Values = Callable[[Kitchen, Batch], Tensor]
Penalty = Callable[[Kitchen], Tensor]
Edit = Callable[[Kitchen], NamedTensors]
"""Returns new values of trained weights, by name; it changes nothing itself."""
GradientTransform = Callable[[Kitchen, Mapping[str, Tensor]], Mapping[str, Tensor]]


class Start(StrEnum):
    CURRENT = "current"
    ORIGINAL = "original"
    FRESH = "fresh"


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of an objective."""

    stream: Stream
    values: Values
    """(b,) one number per row, to be made smaller."""
    weight: float = 1.0
    per: Literal["unit", "row"] = "unit"
    """What the sum is divided by: predictions asked for (tokens), or rows."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One way through rows."""

    selector: Selector
    terms: Sequence[Term]
    penalty: Penalty | None = None
    together: bool = False
    """Divide each term by the counts of the whole step, not of its own stream: for batches that mix the streams."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How a phase steps."""

    learning_rate: float
    batch_size: int
    weight_decay: float = 0.0
    cosine: bool = False
    """Let the rate fall to 0 over the phase as half a cosine."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs under one optimiser, or one edit."""

    passes: Sequence[Pass] = ()
    """Gone through one after the other in each epoch."""
    epochs: int = 1
    descent: Descent | None = None
    edit: Edit | None = None
    start: Start = Start.CURRENT
    keep: str = ""
    """Keep what the phase arrives at under this name, as a frozen network for later phases."""
    transforms: Sequence[GradientTransform] = ()
    training_mode: bool = False
    """Let dropout and batch norm act as in training. Elsewhere they stay as they answer, so that rows are independent."""

    def __post_init__(self) -> None:
        if (self.edit is None) == (self.descent is None or not self.passes):
            raise ValueError("a phase either edits, or descends along its passes")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method with its settings filled in."""

    phases: Sequence[Phase]
    prepare: Callable[[Kitchen], NamedTensors] | None = None
    """Computed once before the first phase and kept with the state."""
    mask: Callable[[Kitchen], Mask] | None = None
    """Which entries may change; all that are trained, when absent."""
    stop: Stop | None = None

    def pruned(self) -> frozenset[int]:
        """Return the forget rows that its selectors say they leave out."""
        return frozenset[int]().union(*(one.selector.pruned for phase in self.phases for one in phase.passes))
