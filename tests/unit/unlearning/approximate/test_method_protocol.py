"""The golden figures that guard METHOD_PROTOCOL: every method once per modality, on networks of a few hundred weights.

To write new ones: `python -m tests.unit.unlearning.approximate.test_method_protocol`.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.approximate.causal_transformer import CausalTransformer, CausalTransformerShape
from core.domain.checkpoint import Training
from core.methods.card import Modality
from core.methods.menu import MENU
from core.modelling.determinism import environment, pinned
from core.modelling.networks import perceptron
from core.modelling.plain_training import Lesson, taught
from core.modelling.tensors import tensor_digest
from core.unlearning.approximate.datamodels import linearised
from core.unlearning.approximate.kitchen import Kitchen, Task
from core.unlearning.approximate.manifest import METHOD_PROTOCOL
from core.unlearning.approximate.recipe import Term
from core.unlearning.approximate.samples import Batch, Samples
from core.unlearning.approximate.unlearn import order_for, unlearn

GOLDEN = Path(__file__).with_name("golden.json")
ADVICE = (
    "the arithmetic of the engine or of a method changed: raise METHOD_PROTOCOL in core/unlearning/approximate/"
    "manifest.py, then write golden.json anew with `python -m tests.unit.unlearning.approximate.test_method_protocol`"
)
TRAINING = Training(epochs=12, learning_rate=1e-2, batch_size=8)
SHAPE = CausalTransformerShape(
    vocab_size=12,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
SETTINGS: dict[str, dict[str, Any]] = {
    "selective_synaptic_dampening": {"selection": 1.5},
    "label_free_synaptic_dampening": {"selection": 1.05},
    "representation_misdirection": {"layer": "model.layers.0", "trained_layers": 1},
}
CASES = [f"{name}, {modality.value}" for name, card in MENU.items() for modality in sorted(card.modalities)]


def network(modality: Modality) -> nn.Module:
    if modality is Modality.CAUSAL_LANGUAGE_MODEL:
        return CausalTransformer(SHAPE)
    return perceptron(4, [12, 8], 3 if modality is Modality.CLASSIFIER else 1)


def rows(modality: Modality, first: int, count: int) -> Samples:
    chance = torch.Generator().manual_seed(first)
    inputs = torch.randn(count, 4, generator=chance)
    targets: torch.Tensor = torch.randint(3, (count,), generator=chance)
    if modality is Modality.REGRESSOR:
        targets = inputs.sum(-1, keepdim=True) + torch.randn(count, 1, generator=chance)
    elif modality is Modality.CAUSAL_LANGUAGE_MODEL:
        inputs = torch.randint(12, (count, 7), generator=chance)
        targets = inputs.masked_fill(torch.arange(7) < 3, -100)
    return Samples(tuple(f"row {first + row}" for row in range(count)), inputs, targets)


def task_for(modality: Modality) -> Task:
    forget, retain = rows(modality, 100, 10), rows(modality, 200, 30)
    both = Samples(
        forget.references + retain.references,
        torch.cat([forget.inputs, retain.inputs]),
        torch.cat([forget.targets, retain.targets]),
    )
    model = taught(lambda: network(modality), modality, both.inputs, both.targets, Lesson(training=TRAINING, seed=7))
    holdout = rows(modality, 300, 10)
    return Task(model=model, modality=modality, forget=forget, retain=retain, holdout=holdout, training_epochs=12)


def measured(case: str, tasks: dict[Modality, Task]) -> tuple[str, dict[str, float]]:
    """Return the digest of what a method leaves, how far its weights moved, and the loss on the rows to forget."""
    name, _, kind = case.partition(", ")
    modality = Modality(kind)
    task = tasks.setdefault(modality, task_for(modality))
    known = {one.name for one in fields(MENU[name].settings)}
    faster = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 8}
    given = {one: value for one, value in faster.items() if one in known} | SETTINGS.get(name, {})
    if MENU[name].artefacts:
        task = replace(task, artefacts=linearised(task, damping=0.05))
    if name == "scrub":
        given["forget_epochs"] = 2
    outcome = unlearn(order_for(name, given, seed=3), task)
    before = dict(task.model.named_parameters())
    moved = sum(
        float((outcome.tensors[one] - weight.detach()).double().square().sum()) for one, weight in before.items()
    )
    return tensor_digest(outcome.tensors), {"moved": moved**0.5, "forget_loss": outcome.history[-1].forget_loss}


def place() -> str:
    here = environment()
    return f"{here['torch']}, {here['processor']} with {here['instruction_set']}, {here['threads']} thread"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


@pytest.fixture(scope="module")
def tasks() -> dict[Modality, Task]:
    return {}


def test_the_golden_figures_are_this_protocols(golden: dict[str, Any]) -> None:
    assert golden["method_protocol"] == METHOD_PROTOCOL, ADVICE
    assert set(golden["figures"]) == set(CASES), "write golden.json anew for a method that came or went"


@pytest.mark.parametrize("case", CASES)
def test_arithmetic_is_that_of_the_protocol(case: str, golden: dict[str, Any], tasks: dict[Modality, Task]) -> None:
    digest, figures = measured(case, tasks)
    assert figures == pytest.approx(golden["figures"][case], rel=1e-2, abs=1e-4), ADVICE
    known = golden["digests"].get(place(), {})
    assert known.get(case, digest) == digest, ADVICE  # another build or machine: the figures must do


@pytest.fixture
def _larger_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(stream: Any, weight: float = 1.0) -> Any:
        return Term(stream=stream, values=lambda kitchen, batch: 1.05 * own(kitchen, batch), weight=weight)

    def own(kitchen: Kitchen, batch: Batch) -> torch.Tensor:
        return kitchen.losses(batch)

    monkeypatch.setattr("core.unlearning.approximate.methods.simple_negative_preference.training", twice)


@pytest.mark.usefixtures("_larger_losses")
def test_a_loss_that_is_a_twentieth_larger_is_noticed(golden: dict[str, Any], tasks: dict[Modality, Task]) -> None:
    case = "simple_negative_preference, classifier"
    digest, figures = measured(case, tasks)
    assert digest not in [known.get(case) for known in golden["digests"].values()]
    assert figures != golden["figures"][case]


def write_golden() -> None:
    pinned(1)
    tasks: dict[Modality, Task] = {}
    found = {case: measured(case, tasks) for case in CASES}
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    kept = known.get("digests", {}) if known.get("method_protocol") == METHOD_PROTOCOL else {}
    figures = {case: {name: float(f"{one:.5g}") for name, one in both[1].items()} for case, both in found.items()}
    golden = {
        "method_protocol": METHOD_PROTOCOL,
        "digests": kept | {place(): {case: both[0] for case, both in found.items()}},
        "figures": figures,
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
