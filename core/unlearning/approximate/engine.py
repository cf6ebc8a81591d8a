"""The one loop: prepare, mask, phases of passes or edits, stop rule, seal. State in, state out at every epoch's end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.domain.errors import BadInput
from core.methods.card import Need
from core.modelling.tensors import NamedTensors, tensor_digest
from core.unlearning.approximate import seal
from core.unlearning.approximate.cost import Cost
from core.unlearning.approximate.kitchen import Kitchen, Live, Task
from core.unlearning.approximate.manifest import manifest, run_digest
from core.unlearning.approximate.masks import HardMask
from core.unlearning.approximate.objective import gradients
from core.unlearning.approximate.order import Order
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Start
from core.unlearning.approximate.reinitialise import reinitialise, seeded
from core.unlearning.approximate.state import State, from_file, grouped, load_optimiser, optimiser_tensors, to_file

COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Whom a run tells after every epoch; whatever they raise ends it."""

    progress: Callable[[Live], None] = lambda _: None
    """Given how the model stands."""
    save: Callable[[bytes], None] | None = None
    """Given the state from which a later run can go on."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run leaves behind."""

    tensors: NamedTensors
    manifest: dict[str, Any]
    """The same for the same order, rows, build and machine; it holds the digest of the tensors."""
    cost: Cost
    ended: str
    """`completed`, or the stop rule's reason."""
    history: tuple[Live, ...]
    to_verify: tuple[str, ...]
    """References of all rows that were to be forgotten, whatever was fed."""
    pruned: tuple[str, ...]
    """References that a selector left out, and said so."""


def run(
    order: Order,
    recipe: Recipe,
    task: Task,
    *,
    resume: bytes | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """Run a recipe on a model.

    Args:
        order: which method and how.
        recipe: what the method is made of.
        task: model and rows.
        resume: what `hooks.save` was given last by a run of the same order that was interrupted.
        hooks: whom to tell after every epoch.

    Raises:
        MethodFailed: the result may not be used, and which invariant it breaks.
        BadInput: `resume` is the state of another run.
    """
    return _Run(order, recipe, task).outcome(resume, hooks or Hooks())


class _Run:
    def __init__(self, order: Order, recipe: Recipe, task: Task) -> None:
        self.order, self.recipe = order, recipe
        self.kitchen = Kitchen(task, order.seed, order.rows_at_once)
        self.digest = run_digest(order, task)
        self.history: list[Live] = []
        self.mask: HardMask
        self.mask_tensors: dict[str, Tensor] = {}
        self.optimiser: torch.optim.Optimizer | None = None
        self.phase = self.epoch = self.steps = 0
        self.ended = ""

    def outcome(self, resume: bytes | None, hooks: Hooks) -> Outcome:
        kitchen = self.kitchen
        first = kitchen.streams["forget"].take("forget", torch.tensor([0]), kitchen.device)
        kitchen.ledger.measure(lambda: kitchen.adapter.outputs(kitchen.original, first.inputs))
        kitchen.before = kitchen.look(-1, 0, 0, None)
        if resume is None:
            self._begin()
        else:
            self._restore(from_file(resume))
        while not self.ended and self.phase < len(self.recipe.phases):
            live = self._epoch()
            hooks.progress(live)
            if hooks.save is not None:
                hooks.save(to_file(self._state()))
        return self._sealed()

    def _begin(self) -> None:
        if self.recipe.prepare is not None:
            self.kitchen.kept.update(self.recipe.prepare(self.kitchen))
        if self.recipe.mask is not None:
            self.mask_tensors = dict(self.recipe.mask(self.kitchen))
        self.mask = HardMask(self.kitchen.student, self.mask_tensors)

    # One epoch, or one edit

    def _epoch(self) -> Live:
        kitchen, phase = self.kitchen, self.recipe.phases[self.phase]
        if self.epoch == 0:
            self._start(phase)
        objective = None
        if phase.edit is not None:
            self._edit(phase.edit(kitchen))
        else:
            objective = self._descend(phase)
        seal.check_finite(kitchen)
        live = kitchen.look(self.phase, self.epoch, len(self.history) + 1, objective)
        self.history.append(live)
        self._advance(phase)
        if self.recipe.stop is not None:
            self.ended = self.recipe.stop.check(kitchen, live) or ""
        return live

    def _start(self, phase: Phase) -> None:
        kitchen = self.kitchen
        if phase.start is Start.ORIGINAL:
            kitchen.student.load_state_dict(kitchen.original.state_dict())
        elif phase.start is Start.FRESH:
            seed = kitchen.derived_seed("reinitialise", self.phase)
            reinitialise(kitchen.student, kitchen.original, seed, kitchen.task.builder)
        self.mask.restore()
        self.steps, self.optimiser = 0, self._optimiser(phase)

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer | None:
        if phase.descent is None:
            return None
        held = list(self.mask.parameters.values())
        return torch.optim.AdamW(held, lr=phase.descent.learning_rate, weight_decay=phase.descent.weight_decay)

    @torch.no_grad()
    def _edit(self, new: Mapping[str, Tensor]) -> None:
        for name, tensor in new.items():
            parameter = self.kitchen.trained[name]
            if tensor.shape != parameter.shape:
                raise ValueError(f"an edit of {name} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
            parameter.copy_(tensor)
        self.mask.restore()

    def _descend(self, phase: Phase) -> float:
        assert phase.descent is not None  # noqa: S101 - a phase without an edit has one
        kitchen, descent = self.kitchen, phase.descent
        sizes = {stream: len(samples) for stream, samples in kitchen.streams.items()}
        plan = [
            one.selector.steps(sizes, descent.batch_size, kitchen.generator("order", self.phase, self.epoch, number))
            for number, one in enumerate(phase.passes)
        ]
        total = phase.epochs * sum(map(len, plan))
        objective = 0.0
        kitchen.student.train(phase.training_mode)
        for number, (one, steps) in enumerate(zip(phase.passes, plan, strict=True)):
            largest = 0.0
            for step in steps:
                kitchen.done = self.steps / total
                size, objective = self._step(phase, one, step)
                largest = max(largest, size)
            if self.epoch == 0:
                seal.check_gradient(largest, self.phase, number)
        kitchen.student.eval()
        return objective

    def _step(self, phase: Phase, one: Pass, step: Mapping[Any, Tensor]) -> tuple[float, float]:
        assert phase.descent is not None  # noqa: S101
        assert self.optimiser is not None  # noqa: S101
        kitchen = self.kitchen
        with seeded(kitchen.derived_seed("step", self.phase, self.steps), kitchen.device):
            found, objective = gradients(kitchen, one, step)
        found = self.mask.silence(found)
        size = max(float(gradient.abs().max()) for gradient in found.values())
        for transform in phase.transforms:
            found = self.mask.silence(transform(kitchen, found))
        for name, parameter in kitchen.trained.items():
            parameter.grad = found[name]
        for group in self.optimiser.param_groups:
            group["lr"] = rate(phase.descent, kitchen.done)
        self.optimiser.step()
        self.mask.restore()
        self.steps += 1
        return size, objective

    def _advance(self, phase: Phase) -> None:
        self.epoch += 1
        if self.epoch >= (phase.epochs if phase.edit is None else 1):
            if phase.keep:
                self.kitchen.remember(phase.keep)
            self.phase, self.epoch, self.optimiser = self.phase + 1, 0, None

    # State

    def _state(self) -> State:
        kitchen = self.kitchen
        optimiser = optimiser_tensors(self.optimiser) if self.optimiser is not None else {}
        facts = {
            "run": self.digest,
            "phase": self.phase,
            "epoch": self.epoch,
            "steps": self.steps,
            "ended": self.ended,
            "seconds": kitchen.ledger.seconds,
            "forward_rows": kitchen.ledger.forward_rows,
            "noted": kitchen.noted,
            "history": [live.as_json() for live in self.history],
        }
        return State(
            grouped(
                model=kitchen.weights(),
                kept=kitchen.kept,
                mask=self.mask_tensors,
                optimiser=optimiser,
                fed={str(stream): rows for stream, rows in kitchen.fed.items()},
            ),
            facts,
        )

    def _restore(self, state: State) -> None:
        facts, kitchen = state.facts, self.kitchen
        if facts["run"] != self.digest:
            raise BadInput("this state belongs to a run of another order, model or data")
        kitchen.kept = state.group("kept")
        self.mask_tensors = state.group("mask")
        self.mask = HardMask(kitchen.student, self.mask_tensors)
        kitchen.student.load_state_dict(state.group("model"))
        self.phase, self.epoch, self.steps = facts["phase"], facts["epoch"], facts["steps"]
        self.ended, kitchen.noted = facts["ended"], facts["noted"]
        self.history = [Live(**live) for live in facts["history"]]
        kitchen.ledger.seconds_before, kitchen.ledger.forward_rows = facts["seconds"], facts["forward_rows"]
        for stream, rows in state.group("fed").items():
            kitchen.fed[stream] = rows  # type: ignore[index]
        if self.epoch:
            self.optimiser = self._optimiser(self.recipe.phases[self.phase])
            assert self.optimiser is not None  # noqa: S101 - an edit is over in one go
            load_optimiser(self.optimiser, state.group("optimiser"))

    def _sealed(self) -> Outcome:
        kitchen, task = self.kitchen, self.kitchen.task
        seal.check_finite(kitchen)
        seal.check_mask(self.mask)
        seal.check_delta(kitchen)
        pruned: tuple[str, ...] = ()
        if Need.FORGET in self.order.card.needs:
            pruned = seal.check_completeness(kitchen, self.recipe.pruned())
        seal.check_answers(kitchen)
        tensors = kitchen.weights()
        return Outcome(
            tensors=tensors,
            manifest=manifest(
                self.order,
                task,
                {
                    "run": self.digest,
                    "weights": self.mask.counts(),
                    "ended": self.ended or COMPLETED,
                    "epochs": len(self.history),
                    "device": kitchen.device.type,
                    "result": tensor_digest(tensors),
                },
            ),
            cost=kitchen.ledger.cost(task.retrain_rows),
            ended=self.ended or COMPLETED,
            history=tuple(self.history),
            to_verify=task.forget.references,
            pruned=pruned,
        )


def rate(descent: Descent, done: float) -> float:
    """Return the learning rate when a share of a phase is done."""
    return descent.learning_rate * (0.5 * (1 + math.cos(math.pi * done)) if descent.cosine else 1.0)
