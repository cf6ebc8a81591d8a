"""`simple_negative_preference`: by length instead of by reference (arXiv:2410.07163)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from core.methods.simple_negative_preference import SimpleNegativePreferenceSettings
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term, Values
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Zipped
from core.unlearning.approximate.terms import training


def recipe(settings: SimpleNegativePreferenceSettings) -> Recipe:
    penalty = simple_preference(settings.beta, settings.delta)
    terms = [
        Term(stream="forget", values=penalty, weight=settings.forget_weight, per="row"),
        training("retain", settings.retain_weight),
    ]
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    return Recipe(
        phases=[Phase(passes=[Pass(selector=Zipped(), terms=terms)], epochs=settings.epochs, descent=descent)]
    )


def simple_preference(beta: float, delta: float) -> Values:
    """Return the penalty on each row that is still likely per token."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        per_token = kitchen.losses(batch) / kitchen.adapter.units(batch.targets)
        return simple_negative_preference_losses(per_token, beta=beta, delta=delta)

    return values


def simple_negative_preference_losses(losses_per_token: Tensor, *, beta: float, delta: float) -> Tensor:
    """Return (b,) -(2 / beta) log sigmoid(beta (NLL per token - delta)), in nats."""
    return -2 / beta * logsigmoid(beta * (losses_per_token - delta))
