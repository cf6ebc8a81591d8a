"""`negmerge`: the opposite of what several ways of learning the rows agree on (arXiv:2410.05583)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from core.methods.negmerge import NegmergeSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Start
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import training


def recipe(settings: NegmergeSettings) -> Recipe:
    names = [f"pool {number}" for number in range(settings.pool)]
    learn = [
        Phase(
            start=Start.ORIGINAL,
            keep=name,
            passes=[Pass(selector=Alone("forget"), terms=[training("forget")])],
            epochs=settings.epochs,
            descent=Descent(learning_rate=rate, batch_size=settings.batch_size),
        )
        for name, rate in zip(names, rates(settings), strict=True)
    ]
    return Recipe(phases=[*learn, Phase(edit=partial(merged, names=names, scale=settings.scale))])


def rates(settings: NegmergeSettings) -> list[float]:
    """Return the pool's learning rates, evenly spaced by factor around the one that was set."""
    last = settings.pool - 1
    return [settings.learning_rate * settings.spread ** (number / last - 0.5) for number in range(settings.pool)]


def merged(kitchen: Kitchen, *, names: Sequence[str], scale: float) -> NamedTensors:
    """Return the original minus what the pool agrees on."""
    before = {name: one.detach() for name, one in kitchen.original.named_parameters()}
    pool = [kitchen.remembered(name) for name in names]
    return {
        name: before[name] - scale * agreed([one[name].to(before[name].device) - before[name] for one in pool])
        for name in kitchen.trained
    }


def agreed(deltas: Sequence[Tensor]) -> Tensor:
    """Return the mean of some tensors where all have the same sign, else 0."""
    stacked = torch.stack(list(deltas))  # (pool, ...)
    same = (stacked.sign().sum(0).abs() == len(deltas)).to(stacked.dtype)
    return stacked.mean(0) * same
