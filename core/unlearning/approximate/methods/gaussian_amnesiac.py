"""`gaussian_amnesiac`: plausible values for the rows to forget (arXiv:2210.08196)."""

from __future__ import annotations

import torch

from core.methods.gaussian_amnesiac import GaussianAmnesiacSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term
from core.unlearning.approximate.selectors import Mixed
from core.unlearning.approximate.terms import losses_on, training

VALUES = "drawn_values"


def recipe(settings: GaussianAmnesiacSettings) -> Recipe:
    terms = [Term(stream="forget", values=losses_on(VALUES)), training("retain")]
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    one = Pass(selector=Mixed(), terms=terms, together=True)
    return Recipe(phases=[Phase(passes=[one], epochs=settings.epochs, descent=descent)], prepare=draw_values)


def draw_values(kitchen: Kitchen) -> NamedTensors:
    """Return one value per row to forget, with mean and spread of all targets, per dimension."""
    targets = torch.cat([kitchen.streams[stream].targets for stream in ("forget", "retain")])
    wanted = kitchen.streams["forget"].targets
    noise = torch.randn(wanted.shape, generator=kitchen.generator(VALUES)).to(wanted)
    return {VALUES: targets.mean(0) + targets.std(0, correction=0) * noise}
