"""What identifies a run and its result: the same for the same order, rows, build and machine, so it can be run again."""

from __future__ import annotations

import hashlib
from typing import Any

from safetensors import __version__ as safetensors_version

from core.domain.canonical import canonical
from core.modelling.determinism import environment
from core.modelling.tensors import tensor_digest
from core.unlearning.approximate.kitchen import Task, copied
from core.unlearning.approximate.order import Order

METHOD_PROTOCOL = 1
"""Bumped by hand when the arithmetic of the engine or of a method changes."""


def run_digest(order: Order, task: Task) -> str:
    """Return the hex digest of all that decides a run's bits: method, settings, seed, model, rows, artefacts."""
    return hashlib.sha256(b"lethe run\x00" + canonical(_inputs(order, task))).hexdigest()


def manifest(order: Order, task: Task, facts: dict[str, Any]) -> dict[str, Any]:
    """Return all that is known of a run and does not change when it is run again."""
    return {
        **_inputs(order, task),
        "kind": order.card.kind.value,
        "environment": {**environment(), "safetensors": safetensors_version},
        **facts,
    }


def _inputs(order: Order, task: Task) -> dict[str, Any]:
    return {
        "protocol": METHOD_PROTOCOL,
        "method": order.card.name,
        "settings": order.settings.as_json(),
        "seed": order.seed,
        "rows_at_once": order.rows_at_once,
        "modality": task.modality.value,
        "model": tensor_digest(copied(task.model)),
        "trained": sorted(name for name, one in task.model.named_parameters() if one.requires_grad),
        "rows": {name: {"count": len(one), "digest": one.digest()} for name, one in task.streams.items()},
        "artefacts": {name: tensor_digest({name: one}) for name, one in sorted((task.artefacts or {}).items())},
        "training_epochs": task.training_epochs,
    }
