"""`fine_tune`: training goes on, without the rows to forget."""

from __future__ import annotations

from core.methods.fine_tune import FineTuneSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import training


def recipe(settings: FineTuneSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    passes = [Pass(selector=Alone("retain"), terms=[training("retain")])]
    return Recipe(phases=[Phase(passes=passes, epochs=settings.epochs, descent=descent)])
