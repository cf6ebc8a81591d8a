"""Integrity (T0): before any statistics, did the method do what it says to the weights?

Hard masks really hold, bit for bit; something changed; a retrained model began anew; every requested record was scored.
Each was broken in published code: masked weights moved by weight decay, methods that left the model as it was,
"retraining" that reset the last layer only, core sets that shrank what was verified.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from core.verification.card import Card, Need, Tier
from core.verification.verdict import Ending, worst

CARD = Card(
    name="integrity",
    asks="Are masked weights bit-equal, did anything change, did a retraining start anew, were all records scored?",
    needs=(Need.WEIGHTS, Need.ORIGINAL),
    formula="bytes(before[mask]) = bytes(after[mask]); before != after; |correlation| <= max(0.05, 4 / sqrt(count))",
    paper="this project; faults seen in published code",
    weakness="Says nothing of what the weights do: any change at all passes.",
    tier=Tier.T0,
)
Weights = Mapping[str, npt.NDArray[Any]]
LARGEST_CORRELATION = 0.05
_MATRIX = 2


class WeightsFlaw(StrEnum):
    OTHER_SHAPES = "other_shapes"
    NOT_FINITE = "not_finite"
    NOTHING_CHANGED = "nothing_changed"
    MASK_MOVED = "mask_moved"
    NOT_BEGUN_ANEW = "not_begun_anew"
    RECORDS_LEFT_OUT = "records_left_out"


_ENDINGS: Mapping[WeightsFlaw, Ending] = {
    WeightsFlaw.OTHER_SHAPES: Ending.NOT_COMPARABLE,
    WeightsFlaw.NOT_FINITE: Ending.UTILITY_LOST,
    WeightsFlaw.NOTHING_CHANGED: Ending.NO_EFFECT,
    WeightsFlaw.MASK_MOVED: Ending.NOT_COMPARABLE,
    WeightsFlaw.NOT_BEGUN_ANEW: Ending.NOT_COMPARABLE,
    WeightsFlaw.RECORDS_LEFT_OUT: Ending.NOT_COMPARABLE,
}
"""A model that is not what its method says cannot be compared with models that are."""


def check_weights(
    original: Weights,
    candidate: Weights,
    *,
    frozen: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    begun_anew: bool = False,
) -> tuple[WeightsFlaw, ...]:
    """Compare two sets of weights.

    Args:
        original: the weights by name before.
        candidate: the weights after.
        frozen: by name, True where a weight had to stay; names that are left out were free.
        begun_anew: whether the method says that it trained from scratch.

    Returns:
        What is wrong, nothing when all is well.
    """
    if _shapes(original) != _shapes(candidate) or not (frozen or {}).keys() <= original.keys():
        return (WeightsFlaw.OTHER_SHAPES,)
    flaws = []
    if not all(np.isfinite(values).all() for values in candidate.values()):
        flaws.append(WeightsFlaw.NOT_FINITE)
    if all(values.tobytes() == candidate[name].tobytes() for name, values in original.items()):
        flaws.append(WeightsFlaw.NOTHING_CHANGED)
    if any(original[name][mask].tobytes() != candidate[name][mask].tobytes() for name, mask in (frozen or {}).items()):
        flaws.append(WeightsFlaw.MASK_MOVED)
    if begun_anew and not _independent(original, candidate):
        flaws.append(WeightsFlaw.NOT_BEGUN_ANEW)
    return tuple(flaws)


def accused_of(flaws: Collection[WeightsFlaw]) -> Ending | None:
    """Return the ending that flaws lead to; None when there are none."""
    return None if not flaws else worst([_ENDINGS[flaw] for flaw in flaws])


def check_completeness(requested: Collection[str], scored: Collection[str]) -> tuple[WeightsFlaw, ...]:
    """Say whether every requested record was scored: what a method prunes for itself is judged all the same."""
    return () if set(requested) <= set(scored) else (WeightsFlaw.RECORDS_LEFT_OUT,)


def _shapes(weights: Weights) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (values.shape, str(values.dtype)) for name, values in weights.items()}


def _independent(original: Weights, candidate: Weights) -> bool:
    """Say whether no matrix follows the old one; vectors (norms, biases) start equal for every seed and say nothing."""
    return all(
        abs(_correlation(values, candidate[name])) <= max(LARGEST_CORRELATION, 4 / np.sqrt(values.size))
        for name, values in original.items()
        if values.ndim >= _MATRIX
    )


def _correlation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    pair = [np.asarray(values, dtype=np.float64).ravel() for values in (first, second)]
    centred = [values - values.mean() for values in pair]
    scale = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / scale if scale > 0 else float(np.array_equal(pair[0], pair[1]))
