"""The front door: check what a method needs, fill in its recipe, run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.methods.card import Need
from core.methods.menu import find
from core.unlearning.approximate.engine import Hooks, Outcome, run
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.order import Order
from core.unlearning.approximate.registry import RECIPES


def order_for(
    method: str, settings: Mapping[str, Any] | None = None, *, seed: int = 0, rows_at_once: int = 256
) -> Order:
    """Return the order for a method by its name or an alias.

    Raises:
        NotFound: no method is called that.
        BadInput: a setting is unknown or out of its bounds.
    """
    card = find(method)
    return Order(card=card, settings=card.settings_from(settings or {}), seed=seed, rows_at_once=rows_at_once)


def unlearn(order: Order, task: Task, *, resume: bytes | None = None, hooks: Hooks | None = None) -> Outcome:
    """Run a method on a model; see `engine.run`.

    Raises:
        MethodNeedsUnmet: the task lacks something that the method needs.
        MethodFailed: the result may not be used.
    """
    order.card.check(task.modality, offered=offered(task), artefacts=artefacts(task))
    return run(order, RECIPES[order.card.name](order.settings), task, resume=resume, hooks=hooks)


def offered(task: Task) -> frozenset[Need]:
    """Return the needs that a task can meet; whether every weight can be drawn afresh shows when it is tried."""
    found = {Need(stream) for stream in task.streams}
    return frozenset(found | {Need.LABELS, Need.REFERENCE, Need.REINITIALISATION})


def artefacts(task: Task) -> frozenset[str]:
    return frozenset(name.partition("/")[0] for name in task.artefacts or {})
