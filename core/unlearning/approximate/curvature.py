"""Solving with the curvature of the loss: Gauss-Newton products and conjugate gradients, no matrix ever built.

The generalised Gauss-Newton matrix is Jᵀ H J with H the curvature of the loss by the outputs. It has no negative
eigenvalue, so conjugate gradients are sound on it; for models linear in their weights it is the Hessian itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vjp

from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.per_sample import answer
from core.unlearning.approximate.samples import Batch, Stream

Vector = dict[str, Tensor]


def mean_gradient(kitchen: Kitchen, *streams: Stream) -> Vector:
    """Return the gradient of the mean loss per unit over some streams."""
    total = {name: torch.zeros_like(one) for name, one in kitchen.trained.items()}
    units = kitchen.units(*streams)
    for batch in kitchen.through(*streams):
        found = torch.autograd.grad(
            kitchen.losses(batch).sum(), list(kitchen.trained.values()), allow_unused=True, materialize_grads=True
        )
        kitchen.forget_answers()
        total = {name: one + part / units for (name, one), part in zip(total.items(), found, strict=True)}
    return total


def gauss_newton_product(kitchen: Kitchen, vector: Vector, stream: Stream) -> Vector:
    """Return the Gauss-Newton matrix of a stream's mean loss per unit, times a vector."""
    weights = {name: one.detach() for name, one in kitchen.trained.items()}
    total = {name: torch.zeros_like(one) for name, one in weights.items()}
    units = kitchen.units(stream)
    for batch in kitchen.through(stream):
        part = _one_product(kitchen, weights, vector, batch)
        total = {name: one + part[name] / units for name, one in total.items()}
    return total


def _one_product(kitchen: Kitchen, weights: Vector, vector: Vector, batch: Batch) -> Vector:
    def outputs(given: Vector) -> Tensor:
        return answer(kitchen, given, batch.inputs)

    kitchen.ledger.add(2 * len(batch), backward=True)
    said, pushed = pushed_forward(outputs, weights, vector)
    bent = kitchen.adapter.curvature(said, batch.targets, pushed)
    _, pull, *_ = vjp(outputs, weights)
    (found,) = pull(bent)
    assert isinstance(found, dict)  # noqa: S101 - shaped like the weights
    return found


def pushed_forward(function: Callable[[Vector], Tensor], point: Vector, direction: Vector) -> tuple[Tensor, Tensor]:
    """Return a function's value at a point, and its derivative along a direction."""
    with warnings.catch_warnings():
        # On its first call, torch's forward mode loads rules that torch itself calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        value, slope, *_ = jvp(function, (point,), (direction,))
    return value, slope


def conjugate_gradients(
    product: Callable[[Vector], Vector], right: Vector, *, iterations: int, tolerance: float = 1e-6
) -> Vector:
    """Return x with product(x) = right, to a relative residual or so many iterations (Hestenes and Stiefel, 1952)."""
    solution = {name: torch.zeros_like(one) for name, one in right.items()}
    residual = dict(right)
    direction = dict(right)
    size = inner(residual, residual)
    smallest = tolerance**2 * size
    for _ in range(iterations):
        if size <= smallest or size == 0:
            break
        bent = product(direction)
        step = size / inner(direction, bent)
        solution = plus(solution, direction, step)
        residual = plus(residual, bent, -step)
        size, before = inner(residual, residual), size
        direction = plus(residual, direction, size / before)
    return solution


def plus(left: Vector, right: Vector, factor: float) -> Vector:
    return {name: one + factor * right[name] for name, one in left.items()}


def inner(left: Vector, right: Vector) -> float:
    return sum(float((one.double() * right[name].double()).sum()) for name, one in left.items())


def retain_newton_step(kitchen: Kitchen, gradient: Vector, *, damping: float, iterations: int) -> Vector:
    """Return (G_R + damping I)⁻¹ gradient, with G_R the Gauss-Newton matrix of the retained rows."""

    def product(vector: Vector) -> Vector:
        return plus(gauss_newton_product(kitchen, vector, "retain"), vector, damping)

    return conjugate_gradients(product, gradient, iterations=iterations)
