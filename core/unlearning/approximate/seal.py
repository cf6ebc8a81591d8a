"""What a run must have done before its result may leave: changed something, kept what it must, fed whom it should."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from core.domain.errors import Diverged, ForgetSetShrunk, MethodFailed, NoEffect
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.masks import HardMask

SMALLEST_CHANGE = 1e-6
"""Of an answer, relative to the largest: less is rounding."""


def check_finite(kitchen: Kitchen) -> None:
    """Refuse weights that are not numbers.

    Raises:
        Diverged: so they are.
    """
    bad = [name for name, one in kitchen.trained.items() if not one.isfinite().all()]
    if bad:
        raise Diverged(f"{len(bad)} of {len(kitchen.trained)} weights are not finite")


def check_gradient(largest: float, phase: int, number: int) -> None:
    """Refuse a pass whose whole first epoch had no gradient at all.

    Raises:
        NoEffect: the objective does not depend on the weights, or the optimiser holds another model's.
    """
    if largest == 0:
        raise NoEffect(f"pass {number + 1} of phase {phase + 1} has a gradient of exactly zero")


def check_delta(kitchen: Kitchen) -> None:
    """Refuse weights that are the original's.

    Raises:
        NoEffect: so they are.
    """
    before = dict(kitchen.original.named_parameters())
    if all(torch.equal(one, before[name]) for name, one in kitchen.trained.items()):
        raise NoEffect("every weight is as it was")


@torch.no_grad()
def check_answers(kitchen: Kitchen) -> None:
    """Refuse a model that answers every row to be forgotten as before.

    Raises:
        NoEffect: so it does.
    """
    moved = False
    for batch in kitchen.through("forget"):
        after, before = kitchen.outputs(batch), kitchen.original_outputs(batch)
        kitchen.forget_answers()
        moved = moved or _differ(after, before)
    if not moved:
        raise NoEffect("every row to be forgotten is answered as before")


def _differ(after: Tensor, before: Tensor) -> bool:
    scale = max(1.0, float(before.abs().max()))
    return float((after - before).abs().max()) > SMALLEST_CHANGE * scale


def check_mask(mask: HardMask) -> None:
    """Refuse weights that moved though they were masked out.

    Raises:
        MethodFailed: so they did.
    """
    if not mask.holds():
        raise MethodFailed("weights moved that the mask keeps")


def check_completeness(kitchen: Kitchen, declared: Collection[int]) -> tuple[str, ...]:
    """Return the references that were left out and said to be; refuse any others that were.

    Raises:
        ForgetSetShrunk: rows were neither fed nor declared.
    """
    never = [row for row, fed in enumerate(kitchen.fed["forget"].tolist()) if not fed]
    silent = set(never) - set(declared)
    if silent:
        raise ForgetSetShrunk(f"{len(silent)} of {len(kitchen.fed['forget'])} rows to forget were never fed")
    return tuple(kitchen.task.forget.references[row] for row in never)
