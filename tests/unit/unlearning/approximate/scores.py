"""What tests look at: scores on three sets of rows, computed from outputs and without the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.approximate.worlds import World, loaded
from core.methods.card import Modality
from core.unlearning.approximate.samples import Samples


class Scores(NamedTuple):
    """Share of right answers, or minus the mean absolute error of a regressor."""

    forget: float
    retain: float
    test: float


@dataclass(frozen=True)
class Judged:
    world: World
    original: Scores
    oracle: Scores

    def scores(self, tensors: dict[str, Tensor]) -> Scores:
        return scores_of(self.world, loaded(self.world, tensors))


def judged(world: World) -> Judged:
    return Judged(world, scores_of(world, world.task.model), scores_of(world, world.oracle(7)))


def scores_of(world: World, model: nn.Module) -> Scores:
    assert world.task.retain is not None
    rows = (world.task.forget, world.task.retain, world.test)
    return Scores(*(score(world.task.modality, model, one) for one in rows))


@torch.no_grad()
def score(modality: Modality, model: nn.Module, rows: Samples) -> float:
    answers = model(rows.inputs)
    if modality is Modality.CLASSIFIER:
        return float((answers.argmax(-1) == rows.targets).float().mean())
    if modality is Modality.REGRESSOR:
        return -float((answers.flatten() - rows.targets.flatten()).abs().mean())
    asked = rows.targets[:, 1:] != -100
    return float((answers[:, :-1].argmax(-1) == rows.targets[:, 1:])[asked].float().mean())
