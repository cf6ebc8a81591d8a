"""`influence`: Newton steps on what remains (arXiv:1703.04730, arXiv:1911.03030).

At an optimum of all rows the gradient of the retained rows is minus that of the rows to forget, divided by the number
of retained ones. The rows to forget are what the step removes, so they are read for exactly that.
"""

from __future__ import annotations

from functools import partial

from core.methods.influence import InfluenceSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.curvature import mean_gradient, plus, retain_newton_step
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Phase, Recipe


def recipe(settings: InfluenceSettings) -> Recipe:
    first = partial(forget_step, settings=settings)
    again = partial(retain_step, settings=settings)
    return Recipe(phases=[Phase(edit=first), *(Phase(edit=again) for _ in range(settings.steps - 1))])


def forget_step(kitchen: Kitchen, *, settings: InfluenceSettings) -> NamedTensors:
    """Return the weights after taking away the rows to forget: up their loss, bent by the curvature of the others."""
    share = kitchen.units("forget") / kitchen.units("retain")
    gradient = mean_gradient(kitchen, "forget")
    step = retain_newton_step(kitchen, gradient, damping=settings.damping, iterations=settings.iterations)
    return plus({name: one.detach() for name, one in kitchen.trained.items()}, step, settings.scale * share)


def retain_step(kitchen: Kitchen, *, settings: InfluenceSettings) -> NamedTensors:
    """Return the weights after one more Newton step on the retained rows."""
    gradient = mean_gradient(kitchen, "retain")
    step = retain_newton_step(kitchen, gradient, damping=settings.damping, iterations=settings.iterations)
    return plus({name: one.detach() for name, one in kitchen.trained.items()}, step, -settings.scale)
