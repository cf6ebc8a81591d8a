"""`random_label`: other targets for the rows to forget (arXiv:2010.10981)."""

from __future__ import annotations

from collections.abc import Sequence

from core.methods.random_label import RandomLabelSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.relabelling import LABELS, draw_labels
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.terms import losses_on, training


def recipe(settings: RandomLabelSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    return Recipe(phases=[Phase(passes=passes(), epochs=settings.epochs, descent=descent)], prepare=draw_labels)


def passes() -> Sequence[Pass]:
    """Return one epoch: the rows to forget on drawn targets, then the others on their own."""
    return [
        Pass(selector=Alone("forget"), terms=[Term(stream="forget", values=losses_on(LABELS))]),
        Pass(selector=Alone("retain"), terms=[training("retain")]),
    ]
