"""What some methods need and somebody must compute before: from which inputs, by what, and at what cost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from core.domain.canonical import canonical
from core.modelling.tensors import NamedTensors, tensor_digest
from core.unlearning.approximate import datamodels
from core.unlearning.approximate.cost import Cost
from core.unlearning.approximate.kitchen import Task, copied
from core.unlearning.approximate.manifest import METHOD_PROTOCOL

MAKERS: Mapping[str, Callable[[Task], datamodels.Prediction]] = {datamodels.ARTEFACT: datamodels.predicted}
"""How each artefact is made for one request."""


@dataclass(frozen=True)
class Artefacts:
    """What was computed for a task."""

    tensors: NamedTensors
    cost: Cost


def make(task: Task, names: Collection[str]) -> Artefacts:
    """Compute artefacts for a task.

    Raises:
        Diverged: one of them is not finite.
    """
    made = [MAKERS[name](task) for name in sorted(names)]
    total = made[0].cost
    for other in made[1:]:
        total = total.plus(other.cost)
    return Artefacts({name: one for part in made for name, one in part.tensors.items()}, total)


def given(task: Task, tensors: NamedTensors) -> Task:
    """Return the task with artefacts beside it."""
    return replace(task, artefacts={**(task.artefacts or {}), **tensors})


def inputs_digest(task: Task, names: Collection[str]) -> str:
    """Return the hex digest of all that artefacts depend on: model, rows to forget, rows that stay, and how they are made.

    The rows are told by reference, input and target: with one row more or less in the training set it is another digest.
    """
    rows = {name: one.digest() for name, one in task.streams.items() if name in {"forget", "retain"}}
    described = {
        "protocol": METHOD_PROTOCOL,
        "artefacts": sorted(names),
        "damping": datamodels.DAMPING,
        "iterations": datamodels.ITERATIONS,
        "modality": task.modality.value,
        "model": tensor_digest(copied(task.model)),
        "trained": sorted(name for name, one in task.model.named_parameters() if one.requires_grad),
        "rows": rows,
    }
    return hashlib.sha256(b"lethe artefacts\x00" + canonical(described)).hexdigest()
