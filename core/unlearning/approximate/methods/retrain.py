"""`retrain`: a fresh model that only ever sees the retained rows."""

from __future__ import annotations

from core.methods.retrain import RetrainSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Start
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import training


def recipe(settings: RetrainSettings) -> Recipe:
    descent = Descent(
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
        cosine=True,
    )
    passes = [Pass(selector=Alone("retain"), terms=[training("retain")])]
    return Recipe(
        phases=[Phase(start=Start.FRESH, passes=passes, epochs=settings.epochs, descent=descent, training_mode=True)]
    )
