"""`gradient_ascent`: up the loss of the rows to forget (arXiv:2109.13398)."""

from __future__ import annotations

from core.methods.gradient_ascent import GradientAscentSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.stops import UtilityFloor
from core.unlearning.approximate.terms import training
from core.unlearning.approximate.transforms import clipped


def recipe(settings: GradientAscentSettings) -> Recipe:
    phase = Phase(
        passes=[Pass(selector=Alone("forget"), terms=[training("forget", -1.0)])],
        epochs=settings.epochs,
        descent=Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size),
        transforms=[clipped(settings.largest_gradient)],
    )
    stop = UtilityFloor(settings.largest_utility_loss) if settings.largest_utility_loss < 1 else None
    return Recipe(phases=[phase], stop=stop)
