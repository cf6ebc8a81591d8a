"""`datamodel_matching`: towards what a retrained model is predicted to say (arXiv:2410.23232)."""

from __future__ import annotations

from torch import Tensor

from core.methods.datamodel_matching import DatamodelMatchingSettings
from core.unlearning.approximate.datamodels import ARTEFACT
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Mixed


def recipe(settings: DatamodelMatchingSettings) -> Recipe:
    terms = [Term(stream="forget", values=to_prediction), Term(stream="retain", values=to_prediction)]
    phase = Phase(
        passes=[Pass(selector=Mixed(settings.retain_share), terms=terms, together=True)],
        epochs=settings.epochs,
        descent=Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size, cosine=True),
    )
    return Recipe(phases=[phase])


def to_prediction(kitchen: Kitchen, batch: Batch) -> Tensor:
    """Return (b,) the squared distance from the predicted answers."""
    outputs = kitchen.outputs(batch)
    wanted = kitchen.artefact(ARTEFACT)[batch.stream][batch.rows].to(outputs)
    if wanted.shape != outputs.shape:
        raise ValueError(f"predicted answers are {tuple(wanted.shape)}, the model's {tuple(outputs.shape)}")
    return (outputs - wanted).square().sum(-1)
