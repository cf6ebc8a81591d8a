"""`label_free_synaptic_dampening`: dampening by how strongly answers move, whatever is right (arXiv:2402.19308)."""

from __future__ import annotations

from functools import partial

from core.methods.label_free_synaptic_dampening import LabelFreeSynapticDampeningSettings
from core.unlearning.approximate.methods.selective_synaptic_dampening import dampen
from core.unlearning.approximate.recipe import Phase, Recipe

IMPORTANCE = "label_free_importance"


def recipe(settings: LabelFreeSynapticDampeningSettings) -> Recipe:
    edit = partial(
        dampen, of="energies", artefact=IMPORTANCE, selection=settings.selection, dampening=settings.dampening
    )
    return Recipe(phases=[Phase(edit=edit)])
