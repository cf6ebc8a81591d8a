"""`negative_preference`: gradient ascent that tires (arXiv:2404.05868)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from core.methods.negative_preference import NegativePreferenceSettings
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term, Values
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Zipped
from core.unlearning.approximate.terms import training


def recipe(settings: NegativePreferenceSettings) -> Recipe:
    terms = [
        Term(stream="forget", values=preference(settings.beta), per="row"),
        training("retain", settings.retain_weight),
    ]
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    return Recipe(
        phases=[Phase(passes=[Pass(selector=Zipped(), terms=terms)], epochs=settings.epochs, descent=descent)]
    )


def preference(beta: float) -> Values:
    """Return the penalty on each row that is still likelier than under the original."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        before = kitchen.adapter.losses(kitchen.original_outputs(batch), batch.targets)
        return negative_preference_losses(kitchen.losses(batch), before, beta=beta)

    return values


def negative_preference_losses(losses: Tensor, original_losses: Tensor, *, beta: float) -> Tensor:
    """Return (b,) -(2 / beta) log sigmoid(beta (NLL - original NLL)).

    Args:
        losses: (b,) negative log-likelihood of each whole answer, in nats.
        original_losses: (b,) the same under the frozen original.
        beta: inverse temperature, > 0.

    Raises:
        ValueError: the two inputs differ in shape.
    """
    if losses.shape != original_losses.shape:
        raise ValueError(f"{losses.shape=} but {original_losses.shape=}")
    return -2 / beta * logsigmoid(beta * (losses - original_losses))
