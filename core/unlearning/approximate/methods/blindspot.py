"""`blindspot`: what a network that only glanced would say (arXiv:2210.08196)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.methods.blindspot import BlindspotSettings
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Start, Term, Values
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Alone, Mixed
from core.unlearning.approximate.terms import training

PROXY = "proxy"
SMALLEST = 1e-12


def recipe(settings: BlindspotSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    glance = Phase(
        start=Start.FRESH,
        keep=PROXY,
        passes=[Pass(selector=Alone("retain"), terms=[training("retain")])],
        epochs=settings.proxy_epochs,
        descent=descent,
    )
    terms = [Term(stream="forget", values=to_proxy), Term(stream="retain", values=to_targets)]
    if settings.layer:
        attention = attention_transfer(settings.layer)
        terms.append(Term(stream="forget", values=attention, weight=settings.layer_weight))
    teach = Phase(
        start=Start.ORIGINAL,
        passes=[Pass(selector=Mixed(), terms=terms, together=True)],
        epochs=settings.epochs,
        descent=descent,
    )
    return Recipe(phases=[glance, teach])


def to_proxy(kitchen: Kitchen, batch: Batch) -> Tensor:
    """Return (b,) the absolute difference from the proxy's answers."""
    return (kitchen.outputs(batch) - kitchen.frozen_outputs(PROXY, batch)).abs().sum(-1)


def to_targets(kitchen: Kitchen, batch: Batch) -> Tensor:
    """Return (b,) the absolute error."""
    return -kitchen.adapter.scores(kitchen.outputs(batch), batch.targets)


def attention_transfer(layer: str) -> Values:
    """Return how differently a layer of the model and of the proxy share out their activity (arXiv:1612.03928)."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        own = attention(kitchen.features(kitchen.student, batch, layer))
        with torch.no_grad():
            wanted = attention(kitchen.features(kitchen.frozen(PROXY), batch, layer))
        return (own - wanted).square().sum(-1)

    return values


def attention(features: Tensor) -> Tensor:
    """Return (b, places) of unit length: the mean square over channels, or the squares where there are no places.

    Args:
        features: (b, channels) or (b, channels, ...).
    """
    squares = features.square()
    flat = squares.flatten(2).mean(1) if squares.dim() > 2 else squares  # noqa: PLR2004 - rows, channels, places
    return normalize(flat, dim=-1, eps=SMALLEST)
