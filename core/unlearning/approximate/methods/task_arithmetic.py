"""`task_arithmetic`: the opposite of learning the rows once more (arXiv:2212.04089)."""

from __future__ import annotations

from functools import partial

from core.methods.task_arithmetic import TaskArithmeticSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import training


def recipe(settings: TaskArithmeticSettings) -> Recipe:
    learn = Phase(
        passes=[Pass(selector=Alone("forget"), terms=[training("forget")])],
        epochs=settings.epochs,
        descent=Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size),
    )
    return Recipe(phases=[learn, Phase(edit=partial(negated, scale=settings.scale))])


def negated(kitchen: Kitchen, *, scale: float) -> NamedTensors:
    """Return the original minus so many times what was learned."""
    before = dict(kitchen.original.named_parameters())
    return {name: (before[name] - scale * (one - before[name])).detach() for name, one in kitchen.trained.items()}
