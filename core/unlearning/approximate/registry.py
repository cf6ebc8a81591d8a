"""Which recipe cooks which method: the same names as the menu."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.unlearning.approximate.methods import (
    bad_teacher,
    blindspot,
    datamodel_matching,
    fine_tune,
    gaussian_amnesiac,
    gradient_ascent,
    gradient_difference,
    influence,
    l1_sparse,
    label_free_synaptic_dampening,
    negative_preference,
    negmerge,
    random_label,
    representation_misdirection,
    retrain,
    salun,
    scrub,
    selective_synaptic_dampening,
    simple_negative_preference,
    task_arithmetic,
)
from core.unlearning.approximate.recipe import Recipe

RECIPES: Mapping[str, Callable[[Any], Recipe]] = {
    "retrain": retrain.recipe,
    "fine_tune": fine_tune.recipe,
    "gradient_ascent": gradient_ascent.recipe,
    "gradient_difference": gradient_difference.recipe,
    "random_label": random_label.recipe,
    "salun": salun.recipe,
    "l1_sparse": l1_sparse.recipe,
    "scrub": scrub.recipe,
    "bad_teacher": bad_teacher.recipe,
    "selective_synaptic_dampening": selective_synaptic_dampening.recipe,
    "label_free_synaptic_dampening": label_free_synaptic_dampening.recipe,
    "influence": influence.recipe,
    "task_arithmetic": task_arithmetic.recipe,
    "negmerge": negmerge.recipe,
    "negative_preference": negative_preference.recipe,
    "simple_negative_preference": simple_negative_preference.recipe,
    "representation_misdirection": representation_misdirection.recipe,
    "gaussian_amnesiac": gaussian_amnesiac.recipe,
    "blindspot": blindspot.recipe,
    "datamodel_matching": datamodel_matching.recipe,
}
