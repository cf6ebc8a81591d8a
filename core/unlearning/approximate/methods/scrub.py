"""`scrub`: away from the original on the rows to forget, towards it on the others (arXiv:2302.09880).

Retained rows come first in each epoch: at the original itself the divergence has no gradient to climb.
"""

from __future__ import annotations

from core.methods.scrub import ScrubSettings
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.selectors import Alone
from core.unlearning.approximate.stops import RewindToHoldout
from core.unlearning.approximate.terms import distance_to_original, training


def recipe(settings: ScrubSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    distance = distance_to_original(settings.temperature)
    keep = Pass(
        selector=Alone("retain"),
        terms=[
            Term(stream="retain", values=distance, weight=settings.divergence_weight),
            training("retain", settings.loss_weight),
        ],
    )
    push = Pass(selector=Alone("forget"), terms=[Term(stream="forget", values=distance, weight=-1.0)])
    pushes = min(settings.forget_epochs, settings.epochs)
    phases = [Phase(passes=[keep, push], epochs=pushes, descent=descent)]
    if settings.epochs > pushes:
        phases.append(Phase(passes=[keep], epochs=settings.epochs - pushes, descent=descent))
    return Recipe(phases=phases, stop=RewindToHoldout(settings.epochs) if settings.rewind == "yes" else None)
