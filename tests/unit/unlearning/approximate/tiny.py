"""The smallest things: a few rows, a linear model, a LoRA layer, and recipes of one phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.methods.card import MethodCard, MethodSettings, Modality, Need, batch_size, epochs, learning_rate
from core.unlearning.approximate.kitchen import Kitchen, Task
from core.unlearning.approximate.order import Order
from core.unlearning.approximate.recipe import Descent, Edit, Pass, Phase, Recipe
from core.unlearning.approximate.samples import Samples
from core.unlearning.approximate.selectors import Alone, Selector
from core.unlearning.approximate.terms import training


@dataclass(frozen=True, kw_only=True)
class TinySettings(MethodSettings):
    epochs: int = epochs(2)
    learning_rate: float = learning_rate(1e-2)
    batch_size: int = batch_size(8)


CARD = MethodCard(
    name="tiny",
    title="Tiny",
    summary="For tests.",
    paper="None.",
    formula="none",
    needs=frozenset({Need.FORGET}),
    modalities=frozenset(Modality),
    settings=TinySettings,
    cost="Little.",
    weakness="All.",
)


def order(seed: int = 0, rows_at_once: int = 256) -> Order:
    return Order(card=CARD, settings=TinySettings(), seed=seed, rows_at_once=rows_at_once)


def rows(count: int, width: int = 3, classes: int = 3, *, seed: int = 0, name: str = "row") -> Samples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, width, generator=generator)
    targets = torch.randint(classes, (count,), generator=generator)
    return Samples(tuple(f"{name} {number}" for number in range(count)), inputs, targets)


def drawn(build: Any, seed: int = 0) -> Any:
    """Return what a function builds under a seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build()


def linear(width: int = 3, classes: int = 3) -> nn.Module:
    model: nn.Module = drawn(lambda: nn.Linear(width, classes))
    return model


def task(model: nn.Module | None = None, *, forget: int = 12, retain: int = 20, **others: Any) -> Task:
    return Task(
        model=linear() if model is None else model,
        modality=Modality.CLASSIFIER,
        forget=rows(forget, seed=1, name="forget"),
        retain=rows(retain, seed=2, name="retain"),
        **others,
    )


def kitchen(task_: Task, rows_at_once: int = 256) -> Kitchen:
    return Kitchen(task_, 0, rows_at_once)


def ascent(selector: Selector | None = None, **others: Any) -> Recipe:
    """Return gradient ascent with large steps and momentum."""
    one = Pass(selector=selector or Alone("forget"), terms=[training("forget", -1.0)])
    return recipe([one], **others)


def recipe(passes: Sequence[Pass], *, weight_decay: float = 0.0, **others: Any) -> Recipe:
    descent = Descent(learning_rate=0.05, batch_size=8, weight_decay=weight_decay)
    return Recipe(phases=[Phase(passes=passes, epochs=3, descent=descent)], **others)


def edited(edit: Edit) -> Recipe:
    return Recipe(phases=[Phase(edit=edit)])


class LowRank(nn.Module):
    """A frozen linear layer with trained factors beside it."""

    def __init__(self, width: int, outputs: int, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Linear(width, outputs).requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, width))
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.base(inputs) + inputs @ self.a.T @ self.b.T
        return found


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(inputs).tanh())
        return found
