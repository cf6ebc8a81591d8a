"""What a method may touch while it runs: the model that changes, the original, the rows, what was kept, and chance.

All randomness comes from `generator`, a function of the run's seed and of words that say what it is for: nothing depends
on what was drawn before, so a run that resumes draws what it would have drawn.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.methods.card import Modality
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.adapters.adapter import ModelAdapter
from core.unlearning.approximate.adapters.registry import ADAPTERS
from core.unlearning.approximate.cost import Ledger
from core.unlearning.approximate.masks import trained_parameters
from core.unlearning.approximate.samples import Batch, Samples, Stream, chunks

LIVE_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trained model, and what is to be forgotten."""

    model: nn.Module
    """Stays as it is; what asks for a gradient in it is what a method may change, so a LoRA checkpoint changes its factors."""
    modality: Modality
    forget: Samples
    retain: Samples | None = None
    holdout: Samples | None = None
    artefacts: Mapping[str, Tensor] | None = None
    """Computed before, by `artefact/part`; see the methods that ask for some."""
    training_epochs: int | None = None
    """How long the original was trained: what a cost is a share of."""
    builder: Callable[[], nn.Module] | None = None
    """Makes the model afresh under torch's seed; without it, every module's `reset_parameters` does."""

    @property
    def streams(self) -> dict[Stream, Samples]:
        every: dict[Stream, Samples | None] = {"forget": self.forget, "retain": self.retain, "holdout": self.holdout}
        return {name: samples for name, samples in every.items() if samples is not None and len(samples)}

    @property
    def retrain_rows(self) -> int | None:
        """How many rows a retrain goes through; None where that is not known."""
        return len(self.retain) * self.training_epochs if self.retain and self.training_epochs else None


@dataclass(frozen=True, kw_only=True)
class Live:
    """How the model stands after an epoch, on at most 512 rows of each stream; per unit."""

    phase: int
    epoch: int
    epochs_done: int
    """In all phases."""
    objective: float | None
    forget_loss: float
    forget_score: float
    retain_loss: float | None = None
    retain_score: float | None = None
    holdout_loss: float | None = None
    holdout_score: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Kitchen:
    """One run."""

    def __init__(self, task: Task, seed: int, rows_at_once: int) -> None:
        self.task, self.seed, self.rows_at_once = task, seed, rows_at_once
        self.adapter: ModelAdapter = ADAPTERS[task.modality]
        self.streams = task.streams
        self.original = task.model.eval()
        self.student = copy.deepcopy(task.model).eval()
        self.trained = trained_parameters(self.student)
        self.device = next(iter(self.trained.values())).device
        self.ledger = Ledger(self.device)
        self.kept: NamedTensors = {}
        self.noted: dict[str, float] = {}
        self.fed = {stream: torch.zeros(len(samples), dtype=torch.bool) for stream, samples in self.streams.items()}
        self.done = 0.0
        """Share of the present phase that is done."""
        self.before: Live
        self._frozen: dict[str, nn.Module] = {}
        self._answers: dict[tuple[object, ...], Tensor] = {}

    def generator(self, *purpose: object) -> torch.Generator:
        """Return a fresh stream of random numbers for a purpose."""
        return torch.Generator().manual_seed(self.derived_seed(*purpose))

    def derived_seed(self, *purpose: object) -> int:
        words = "\x00".join(map(str, (self.seed, *purpose)))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7])

    # Rows

    def take(self, stream: Stream, rows: Tensor) -> Batch:
        """Return rows of a stream, and note that they were fed."""
        self.fed[stream][rows] = True
        return self.streams[stream].take(stream, rows, self.device)

    def through(self, *streams: Stream) -> Iterator[Batch]:
        """Yield all rows of these streams once, as many at a time as fit into memory."""
        for stream in streams:
            for rows in chunks(torch.arange(len(self.streams[stream])), self.rows_at_once):
                yield self.take(stream, rows)

    def units(self, *streams: Stream) -> float:
        """Return how many predictions all rows of these streams ask for."""
        return sum(float(self.adapter.units(self.streams[stream].targets).sum()) for stream in streams)

    # Answers

    def outputs(self, batch: Batch) -> Tensor:
        """Return what the changing model answers; asked twice within a step, it computes once."""
        return self._answer(self.student, batch)

    def original_outputs(self, batch: Batch) -> Tensor:
        """Return what the original answers, without a gradient."""
        with torch.no_grad():
            return self._answer(self.original, batch)

    def frozen_outputs(self, name: str, batch: Batch) -> Tensor:
        """Return what the network kept under this name answers, without a gradient."""
        with torch.no_grad():
            return self._answer(self.frozen(name), batch)

    def losses(self, batch: Batch) -> Tensor:
        return self.adapter.losses(self.outputs(batch), batch.targets)

    def features(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return what a layer gives for a batch."""
        found: list[Tensor] = []

        def catch(_: nn.Module, __: object, output: object) -> None:
            value = output[0] if isinstance(output, tuple) else output
            assert isinstance(value, Tensor)  # noqa: S101 - layers that give no tensor are not chosen
            found.append(value)

        handle = model.get_submodule(layer).register_forward_hook(catch)
        try:
            self.ledger.add(len(batch), backward=torch.is_grad_enabled())
            model(batch.inputs)
        finally:
            handle.remove()
        return found[-1]

    def forget_answers(self) -> None:
        """Drop the answers of the last step."""
        self._answers.clear()

    def _answer(self, model: nn.Module, batch: Batch) -> Tensor:
        key = (id(model), id(batch.inputs), torch.is_grad_enabled())
        if key not in self._answers:
            self.ledger.add(len(batch), backward=torch.is_grad_enabled())
            self._answers[key] = self.adapter.outputs(model, batch.inputs)
        return self._answers[key]

    # Weights

    def weights(self) -> NamedTensors:
        """Return a copy of the present weights and buffers."""
        return copied(self.student)

    def remember(self, name: str) -> None:
        self.kept.update({f"{name}/{key}": tensor for key, tensor in self.weights().items()})
        self._frozen.pop(name, None)

    def remembers(self, name: str) -> bool:
        return any(key.startswith(f"{name}/") for key in self.kept)

    def recall(self, name: str) -> None:
        self.student.load_state_dict(self.remembered(name))

    def remembered(self, name: str) -> NamedTensors:
        """Return what was kept under a name."""
        return {key.removeprefix(f"{name}/"): one for key, one in self.kept.items() if key.startswith(f"{name}/")}

    def frozen(self, name: str) -> nn.Module:
        """Return the network kept under a name, ready to answer."""
        if name not in self._frozen:
            network = copy.deepcopy(self.original)
            network.load_state_dict(self.remembered(name))
            self._frozen[name] = network.eval()
        return self._frozen[name]

    def artefact(self, name: str) -> NamedTensors:
        """Return the parts of an artefact by name; empty where there is none."""
        every = self.task.artefacts or {}
        return {key.removeprefix(f"{name}/"): one for key, one in every.items() if key.startswith(f"{name}/")}

    @torch.no_grad()
    def look(self, phase: int, epoch: int, epochs_done: int, objective: float | None) -> Live:
        """Return how the model stands."""
        found: dict[str, float] = {}
        for stream, samples in self.streams.items():
            rows = torch.linspace(0, len(samples) - 1, min(LIVE_ROWS, len(samples))).round().long()
            loss = score = units = 0.0
            for part in chunks(rows, self.rows_at_once):
                batch = samples.take(stream, part, self.device)
                outputs = self.adapter.outputs(self.student, batch.inputs)
                self.ledger.add(len(batch), backward=False)
                loss += float(self.adapter.losses(outputs, batch.targets).sum())
                score += float(self.adapter.scores(outputs, batch.targets).sum())
                units += float(self.adapter.units(batch.targets).sum())
            found |= {f"{stream}_loss": loss / units, f"{stream}_score": score / units}
        return Live(phase=phase, epoch=epoch, epochs_done=epochs_done, objective=objective, **found)


def copied(model: nn.Module) -> NamedTensors:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
