"""`selective_synaptic_dampening`: shrink what matters mostly to the rows to forget (arXiv:2308.07707)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from core.methods.selective_synaptic_dampening import SelectiveSynapticDampeningSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.per_sample import Value, importance
from core.unlearning.approximate.recipe import Phase, Recipe

IMPORTANCE = "importance"


def recipe(settings: SelectiveSynapticDampeningSettings) -> Recipe:
    edit = partial(dampen, of="losses", artefact=IMPORTANCE, selection=settings.selection, dampening=settings.dampening)
    return Recipe(phases=[Phase(edit=edit)])


def dampen(kitchen: Kitchen, *, of: Value, artefact: str, selection: float, dampening: float) -> NamedTensors:
    """Return the dampened weights; the importance of all rows is taken from the artefact where there is one."""
    everywhere = kitchen.artefact(artefact) or importance(kitchen, "forget", "retain", of=of)
    here = importance(kitchen, "forget", of=of)
    return dampened(kitchen.trained, here, everywhere, selection=selection, dampening=dampening)


def dampened(
    weights: Mapping[str, Tensor],
    here: Mapping[str, Tensor],
    everywhere: Mapping[str, Tensor],
    *,
    selection: float,
    dampening: float,
) -> NamedTensors:
    """Return weights times min(dampening * everywhere / here, 1) wherever here > selection * everywhere."""
    new = {}
    for name, one in weights.items():
        overall = everywhere[name].to(one.device)
        factor = (dampening * overall / here[name].clamp(min=torch.finfo(one.dtype).tiny)).clamp(max=1.0)
        new[name] = torch.where(here[name] > selection * overall, one.detach() * factor, one.detach())
    return new
