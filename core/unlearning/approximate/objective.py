"""One step's gradient: terms summed over rows and divided by counts over the whole step, however the step is split."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from core.domain.errors import Diverged
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.recipe import Pass, Term
from core.unlearning.approximate.samples import Batch, Stream, chunks


def gradients(kitchen: Kitchen, one: Pass, step: Mapping[Stream, Tensor]) -> tuple[dict[str, Tensor], float]:
    """Return the gradient of a pass's objective by every trained weight, and the objective.

    Raises:
        Diverged: the objective is not finite.
        ValueError: a term gave something else than one number per row.
    """
    parts = _split(step, kitchen.rows_at_once)
    _check_rows_are_independent(kitchen, len(parts))
    for parameter in kitchen.trained.values():
        parameter.grad = None
    divisors = [_divisor(kitchen, one, term, step) for term in one.terms]
    objective = 0.0
    for rows in parts:
        objective += _backward(kitchen, one, rows, divisors)
    if one.penalty is not None:
        penalty = one.penalty(kitchen)
        penalty.backward()  # type: ignore[no-untyped-call]
        objective += float(penalty.detach())
    if not torch.isfinite(torch.tensor(objective)):
        raise Diverged(f"the objective is {objective}")
    found = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in kitchen.trained.items()
    }
    return found, objective


def _backward(kitchen: Kitchen, one: Pass, rows: Mapping[Stream, Tensor], divisors: list[float]) -> float:
    kitchen.forget_answers()
    batches = {stream: kitchen.take(stream, part) for stream, part in rows.items()}
    parts = [
        term.weight * checked(term.values(kitchen, batches[term.stream]), batches[term.stream]).sum() / divisor
        for term, divisor in zip(one.terms, divisors, strict=True)
        if term.stream in batches and term.weight
    ]
    if not parts:
        return 0.0
    loss = torch.stack(parts).sum()
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    kitchen.forget_answers()
    return float(loss.detach())


def checked(values: Tensor, batch: Batch) -> Tensor:
    """Return the values, if they are one per row.

    A (b, 1) against a (b,) would be broadcast to b * b numbers, and the mean of those looks like a loss.
    """
    if values.shape != (len(batch),):
        raise ValueError(f"a term gives one value per row, ({len(batch)},), and this one gave {tuple(values.shape)}")
    return values


def _split(step: Mapping[Stream, Tensor], size: int) -> list[dict[Stream, Tensor]]:
    streams = [stream for stream, rows in step.items() if len(rows)]
    parts = zip_longest(*(chunks(step[stream], size) for stream in streams))
    return [{stream: rows for stream, rows in zip(streams, part, strict=True) if rows is not None} for part in parts]


def _check_rows_are_independent(kitchen: Kitchen, parts: int) -> None:
    norms = [one for one in kitchen.student.modules() if isinstance(one, _BatchNorm) and one.training]
    if norms and parts > 1:
        raise ValueError("batch norm in training ties a step's rows together: let rows_at_once hold a whole step")


def _divisor(kitchen: Kitchen, one: Pass, term: Term, step: Mapping[Stream, Tensor]) -> float:
    streams = list(step) if one.together else [term.stream]
    return sum(_count(kitchen, term, stream, step[stream]) for stream in streams) or 1.0


def _count(kitchen: Kitchen, term: Term, stream: Stream, rows: Tensor) -> float:
    if term.per == "row":
        return float(len(rows))
    return float(kitchen.adapter.units(kitchen.streams[stream].targets[rows]).sum())
