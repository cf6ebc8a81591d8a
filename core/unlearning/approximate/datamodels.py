"""What a model trained without some rows would answer: predicted from attributions, computed before it is asked.

`from_subsets` fits a linear datamodel to many small trainings on subsets (arXiv:2202.00622); its attributions serve any
later request. `predicted` predicts for one request, from the original alone, by one solve with the curvature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.domain.errors import Diverged
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.cost import Cost
from core.unlearning.approximate.curvature import mean_gradient, pushed_forward, retain_newton_step
from core.unlearning.approximate.kitchen import Kitchen, Task
from core.unlearning.approximate.per_sample import answer

ARTEFACT = "datamodel"
DAMPING = 0.02
"""Of the solve: what kept both of the gate's worlds whole; see the card's known weakness."""
ITERATIONS = 100
"""Of conjugate gradients, at most."""


@dataclass(frozen=True)
class Datamodel:
    """Answers as a linear function of which groups of rows were trained on."""

    attributions: Tensor
    """(groups, rows, outputs): what training on a group adds to the answer on a row."""

    def without(self, answers: Tensor, group: int) -> Tensor:
        """Return the answers (rows, outputs) of a model trained on everything, predicted for training without a group."""
        return answers - self.attributions[group]


def from_subsets(included: Tensor, answers: Tensor, *, ridge: float) -> Datamodel:
    """Fit a datamodel by ridge regression.

    Args:
        included: (models, groups) 1 where a model was trained on a group, else 0.
        answers: (models, rows, outputs) what each model answers.
        ridge: weight of the attributions' squared size, > 0; the mean answer is not penalised.
    """
    centred = (included - included.mean(0)).double()  # (models, groups)
    wanted = (answers - answers.mean(0)).double().flatten(1)  # (models, rows * outputs)
    penalty = ridge * torch.eye(centred.shape[1], dtype=torch.float64)
    found = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ wanted)
    return Datamodel(found.view(-1, *answers.shape[1:]).to(answers.dtype))


@dataclass(frozen=True)
class Prediction:
    """The artefact for one request, and what it cost."""

    tensors: NamedTensors
    """By `datamodel/stream`: (rows, outputs) in the stream's order."""
    cost: Cost


def linearised(task: Task, *, damping: float) -> NamedTensors:
    """Return the artefact of `predicted` alone."""
    return predicted(task, damping=damping).tensors


def predicted(
    task: Task, *, damping: float = DAMPING, iterations: int = ITERATIONS, rows_at_once: int = 256
) -> Prediction:
    """Predict for one request: the original's answers moved along a Newton step without the rows.

    f(x) + J(x) (G_R + damping I)^-1 ΣF ∇loss / n_R, exact for models linear in their weights under squared error.

    Raises:
        Diverged: what is predicted is not finite.
    """
    kitchen = Kitchen(task, 0, rows_at_once)
    first = kitchen.streams["forget"].take("forget", torch.tensor([0]), kitchen.device)
    kitchen.ledger.measure(lambda: kitchen.adapter.outputs(kitchen.original, first.inputs))
    share = kitchen.units("forget") / kitchen.units("retain")
    step = retain_newton_step(kitchen, mean_gradient(kitchen, "forget"), damping=damping, iterations=iterations)
    step = {name: share * one for name, one in step.items()}
    weights = {name: one.detach() for name, one in kitchen.trained.items()}
    found: dict[str, list[Tensor]] = {"forget": [], "retain": []}
    for batch in kitchen.through("forget", "retain"):
        said, moved = pushed_forward(partial(_answers, kitchen, batch.inputs), weights, step)
        found[batch.stream].append((said + moved).detach().cpu())
        kitchen.ledger.add(2 * len(batch), backward=False)
    tensors = {f"{ARTEFACT}/{stream}": torch.cat(parts) for stream, parts in found.items()}
    if not all(bool(one.isfinite().all()) for one in tensors.values()):
        raise Diverged("the answers that were predicted are not finite")
    return Prediction(tensors, kitchen.ledger.cost(task.retrain_rows))


def _answers(kitchen: Kitchen, inputs: Tensor, weights: NamedTensors) -> Tensor:
    return answer(kitchen, weights, inputs)
