"""What is computed before a method runs: everything that a card asks for, told apart by the rows that it is of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.domain.errors import Diverged
from core.methods.card import Modality
from core.methods.menu import MENU
from core.unlearning.approximate.artefacts import MAKERS, given, inputs_digest, make
from core.unlearning.approximate.datamodels import ARTEFACT
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.use_cases.check_needs import COMPUTED


def task(rows: int = 12) -> Task:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        inputs, targets = torch.randn(rows, 3), torch.arange(rows) % 2
    every = Samples(tuple(f"{at:02x}" for at in range(rows)), inputs, targets)
    return Task(
        model=model,
        modality=Modality.CLASSIFIER,
        forget=every.part([0, 1]),
        retain=every.part(list(range(2, rows))),
        training_epochs=5,
    )


def test_whatever_a_card_asks_for_can_be_computed_and_the_api_says_so() -> None:
    assert {name for card in MENU.values() for name in card.artefacts} == MAKERS.keys() == COMPUTED


def test_every_row_and_every_weight_is_in_the_digest() -> None:
    one, names = task(), [ARTEFACT]
    assert inputs_digest(one, names) == inputs_digest(task(), names)
    assert one.retain is not None
    moved = replace(one, forget=one.forget.part([0]), retain=one.retain)
    fewer = replace(one, retain=one.retain.part(list(range(9))))
    other = task()
    with torch.no_grad():
        other.model.bias[0] += 1e-6  # type: ignore[operator, index]
    found = {inputs_digest(two, names) for two in (one, moved, fewer, other)}
    assert len(found) == 4


def test_what_it_costs_is_counted_apart() -> None:
    made = make(task(), [ARTEFACT])
    assert made.cost.flops > 0
    assert made.cost.retrain_share is not None
    assert made.cost.retrain_share > 0
    both = made.cost.plus(made.cost)
    assert (both.flops, both.retrain_share) == (2 * made.cost.flops, 2 * made.cost.retrain_share)
    assert given(task(), made.tensors).artefacts == made.tensors


def test_a_prediction_that_is_not_finite_is_refused() -> None:
    broken = task()
    with torch.no_grad():
        broken.model.weight.fill_(float("inf"))  # type: ignore[operator]
    with pytest.raises(Diverged):
        make(broken, [ARTEFACT])
