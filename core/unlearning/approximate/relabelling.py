"""Random targets for the forget set, drawn once per run, each different from the true one."""

from __future__ import annotations

import torch

from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.kitchen import Kitchen

LABELS = "random_targets"


def draw_labels(kitchen: Kitchen) -> NamedTensors:
    """Return one random target per forget row."""
    targets = kitchen.streams["forget"].targets
    with torch.no_grad():
        first = kitchen.take("forget", torch.tensor([0]))
        outputs = kitchen.adapter.outputs(kitchen.original, first.inputs)
    return {LABELS: kitchen.adapter.relabelled(targets, outputs, kitchen.generator("relabel"))}
