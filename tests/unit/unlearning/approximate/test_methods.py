"""Every method on every modality it claims: it acts as intended, keeps the rest, obeys masks, and can be run again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from core.methods.menu import MENU
from core.unlearning.approximate import engine
from core.unlearning.approximate.datamodels import linearised
from core.unlearning.approximate.engine import Outcome
from core.unlearning.approximate.kitchen import Kitchen, Task
from core.unlearning.approximate.masks import Mask
from core.unlearning.approximate.recipe import Phase, Recipe
from core.unlearning.approximate.registry import RECIPES
from core.unlearning.approximate.unlearn import order_for, unlearn
from tests.unit.unlearning.approximate.scores import Judged


@dataclass(frozen=True)
class Case:
    """A method in a world, and what it has to reach there."""

    method: str
    world: str
    settings: dict[str, Any] = field(default_factory=dict)
    closes: float = 0.2
    """Of the gap between the original's and the oracle's forget score, at least this share."""
    keeps: float = 0.1
    """The retained score may fall by at most this."""

    def __str__(self) -> str:
        return f"{self.method}-{self.world}"


AS_TRAINED = {"epochs": 20, "learning_rate": 3e-3, "batch_size": 32}
CASES = [
    Case("retrain", "mixture", AS_TRAINED, 0.9),
    Case("retrain", "digits", {**AS_TRAINED, "epochs": 15}, 0.9),
    Case("retrain", "curve", {"epochs": 50, "learning_rate": 5e-3, "batch_size": 32}, 0.9),
    Case("retrain", "facts", {"epochs": 40, "learning_rate": 5e-3, "batch_size": 16}, 0.6),
    Case("fine_tune", "mixture", {"learning_rate": 3e-3}),
    Case("fine_tune", "digits", {"learning_rate": 3e-3}),
    Case("fine_tune", "curve", {"epochs": 20, "learning_rate": 3e-3}, 0.02),
    Case("fine_tune", "facts", {"epochs": 20, "learning_rate": 5e-3}, 0.0),
    Case("gradient_ascent", "mixture"),
    Case("gradient_ascent", "digits"),
    Case("gradient_ascent", "curve", {"epochs": 2}, 0.02, 0.3),
    Case("gradient_ascent", "facts", {"epochs": 6}, 0.1, 0.3),
    Case("gradient_difference", "mixture", {"epochs": 10}),
    Case("gradient_difference", "digits"),
    Case("gradient_difference", "curve", {"epochs": 3}, 0.02, 0.3),
    Case("gradient_difference", "facts", {"epochs": 8}, 0.1, 0.3),
    Case("random_label", "mixture"),
    Case("random_label", "digits"),
    Case("random_label", "facts", {"epochs": 10}, 0.2),
    Case("salun", "mixture", {"epochs": 8}),
    Case("salun", "digits"),
    Case("salun", "facts", {"epochs": 10}, 0.2),
    Case("l1_sparse", "mixture", {"learning_rate": 3e-3}),
    Case("l1_sparse", "digits", {"learning_rate": 3e-3}),
    Case("l1_sparse", "curve", {"epochs": 20, "learning_rate": 3e-3}, 0.02),
    Case("l1_sparse", "facts", {"epochs": 20, "learning_rate": 5e-3}, 0.0),
    Case("scrub", "mixture", {"learning_rate": 2e-3}),
    Case("scrub", "digits", {"learning_rate": 2e-3}),
    Case("scrub", "facts", {"epochs": 12, "learning_rate": 3e-3, "forget_epochs": 8}, 0.1),
    Case("bad_teacher", "mixture", {"epochs": 10}),
    Case("bad_teacher", "digits", {"epochs": 10}),
    Case("bad_teacher", "facts", {"epochs": 10}, 0.1),
    Case("selective_synaptic_dampening", "mixture", {"selection": 5.0, "dampening": 5.0}),
    Case("selective_synaptic_dampening", "digits", {"selection": 8.0, "dampening": 4.0}, 0.02, 0.2),
    Case("selective_synaptic_dampening", "curve", {"selection": 1.5, "dampening": 3.0}, 0.02, 0.8),
    Case("selective_synaptic_dampening", "facts", {"selection": 2.0}, 0.02, 0.4),
    Case("label_free_synaptic_dampening", "mixture", {"selection": 1.2, "dampening": 0.5}, 0.02, 0.2),
    Case("label_free_synaptic_dampening", "digits", {"selection": 1.1, "dampening": 0.5}, 0.02, 0.2),
    Case("label_free_synaptic_dampening", "curve", {"selection": 2.0, "dampening": 1.0}, 0.02, 0.8),
    Case("label_free_synaptic_dampening", "facts", {"selection": 2.0, "dampening": 0.5}, 0.2, 0.2),
    Case("influence", "mixture", {"damping": 0.01}),
    Case("influence", "digits", {"damping": 0.03}),
    Case("influence", "curve", {"damping": 0.1}, 0.01),
    Case("influence", "facts", {"damping": 0.03}, 0.02, 0.3),
    Case("task_arithmetic", "mixture", {"scale": 2.0}),
    Case("task_arithmetic", "digits"),
    Case("task_arithmetic", "curve", {}, 0.01, 0.3),
    Case("task_arithmetic", "facts", {"scale": 2.0}, 0.02, 0.3),
    Case("negmerge", "mixture"),
    Case("negmerge", "digits"),
    Case("negmerge", "curve", {}, 0.01, 0.3),
    Case("negmerge", "facts", {"scale": 2.0}, 0.2, 0.1),
    Case("negative_preference", "mixture", {"epochs": 6}, 0.2, 0.2),
    Case("negative_preference", "digits", {"epochs": 6}, 0.2, 0.2),
    Case("negative_preference", "facts", {"epochs": 6}, 0.2, 0.3),
    Case("simple_negative_preference", "mixture"),
    Case("simple_negative_preference", "digits"),
    Case("simple_negative_preference", "facts", {}, 0.2, 0.2),
    Case(
        "representation_misdirection",
        "facts",
        {"epochs": 40, "learning_rate": 3e-3, "steering": 40.0, "retain_weight": 10.0},
        0.1,
        0.2,
    ),
    Case("gaussian_amnesiac", "curve", {}, 0.2, 0.3),
    Case("blindspot", "curve", {"epochs": 8, "proxy_epochs": 5}, 0.1, 0.2),
    Case("blindspot", "curve", {"epochs": 8, "layer": "2", "layer_weight": 1.0}, 0.1, 0.2),
    Case("datamodel_matching", "mixture", {"epochs": 15}),
    Case("datamodel_matching", "digits", {"epochs": 15}),
    Case("datamodel_matching", "curve", {}, 0.02, 0.3),
]
ONCE = list({case.method: case for case in reversed(CASES)}.values())


def task_for(case: Case, judged: Judged) -> Task:
    task = judged.world.task
    return (
        replace(task, artefacts=linearised(task, damping=0.03 if case.world == "digits" else 0.01))
        if MENU[case.method].artefacts
        else task
    )


def outcome(case: Case, judged: Judged, **others: Any) -> Outcome:
    return unlearn(order_for(case.method, case.settings, seed=3, **others), task_for(case, judged))


def test_every_method_is_tried_on_every_modality_it_claims(worlds: dict[str, Judged]) -> None:
    tried = {(case.method, worlds[case.world].world.task.modality) for case in CASES}
    assert tried == {(name, modality) for name, card in MENU.items() for modality in card.modalities}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forgets_as_intended_and_keeps_the_rest(case: Case, worlds: dict[str, Judged]) -> None:
    judged = worlds[case.world]
    before, target = judged.original, judged.oracle
    after = judged.scores(outcome(case, judged).tensors)
    gap, left = before.forget - target.forget, abs(after.forget - target.forget)
    assert gap > 0.3, "the world shows the difference"
    assert after.forget < before.forget or case.closes == 0, "in the intended direction"
    assert left <= (1 - case.closes) * gap, "nearer to the oracle than doing nothing"
    assert after.retain >= before.retain - case.keeps, "the retained rows are kept"


@pytest.mark.parametrize("case", ONCE, ids=str)
def test_two_runs_by_one_seed_are_equal_to_the_bit(case: Case, worlds: dict[str, Judged]) -> None:
    first, second = outcome(case, worlds[case.world]), outcome(case, worlds[case.world])
    assert first.manifest == second.manifest
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


@pytest.mark.parametrize("case", ONCE, ids=str)
def test_what_is_masked_out_keeps_its_bits(case: Case, worlds: dict[str, Judged]) -> None:
    judged = worlds[case.world]
    order = order_for(case.method, case.settings, seed=3)
    recipe = RECIPES[case.method](order.settings)
    found = engine.run(order, decaying(replace(recipe, mask=half_of(recipe))), task_for(case, judged))
    before = judged.world.task.model.state_dict()
    moved = 0
    for name, tensor in found.tensors.items():
        kept = checkered(tensor)
        assert torch.equal(tensor[~kept], before[name][~kept])
        moved += int((tensor[kept] != before[name][kept]).sum())
    assert moved > 0


def half_of(recipe: Recipe) -> Any:
    """Return the recipe's own mask, and of that every second entry."""

    def mask(kitchen: Kitchen) -> Mask:
        own = dict(recipe.mask(kitchen)) if recipe.mask else {}
        every = {name: checkered(tensor) for name, tensor in kitchen.trained.items()}
        return {name: kept & own.get(name, torch.tensor(True)) for name, kept in every.items()}

    return mask


def checkered(tensor: torch.Tensor) -> torch.Tensor:
    return (torch.arange(tensor.numel()) % 2 == 0).view(tensor.shape)


def decaying(recipe: Recipe) -> Recipe:
    """Return the recipe with weight decay, which moves weights that have no gradient."""

    def one(phase: Phase) -> Phase:
        return replace(phase, descent=replace(phase.descent, weight_decay=0.1)) if phase.descent else phase

    return replace(recipe, phases=[one(phase) for phase in recipe.phases])
