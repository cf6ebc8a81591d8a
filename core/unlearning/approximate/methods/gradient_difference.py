"""`gradient_difference`: up on the rows to forget, down on as many that stay (arXiv:2203.12817)."""

from __future__ import annotations

from core.methods.gradient_difference import GradientDifferenceSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.selectors import Zipped
from core.unlearning.approximate.terms import distance_to_original, losses, training
from core.unlearning.approximate.transforms import clipped


def recipe(settings: GradientDifferenceSettings) -> Recipe:
    keep = losses if settings.retain_by == "loss" else distance_to_original()
    terms = [
        training("forget", -settings.forget_weight),
        Term(stream="retain", values=keep, weight=settings.retain_weight),
    ]
    phase = Phase(
        passes=[Pass(selector=Zipped(), terms=terms)],
        epochs=settings.epochs,
        descent=Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size),
        transforms=[clipped(settings.largest_gradient)],
    )
    return Recipe(phases=[phase])
