"""A small world of checkpoints: tables of a Gaussian mixture with owners, a perceptron that learned them, trained elsewhere.

Many labels are random: only a model that saw them answers as they say, so forgetting them can be seen. Rows that no training
saw are of the same kind.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from core.datasets.schema import TabularSchema
from core.datasets.tabular_schema import LabelTarget, NumberTarget, NumericColumn
from core.domain.checkpoint import ArchitectureKind, Training
from core.use_cases.doors import Doors
from core.use_cases.register_checkpoint import CheckpointOrder, register_checkpoint
from core.use_cases.register_dataset import register_dataset
from tests.integration import world

FEATURES, CLASSES, HIDDEN = 20, 5, (128,)
LABELS = ("a", "b", "c", "d", "e")
ROWS, EACH, UNSEEN = 800, 4, 600
NOISE = 0.15
TRAINING = Training(epochs=40, learning_rate=0.01, batch_size=64)


def schema(target: str = "label") -> TabularSchema:
    targets: dict[str, LabelTarget | NumberTarget] = {
        "label": LabelTarget(column="outcome", labels=LABELS),
        "number": NumberTarget(column="outcome", minimum=-10, maximum=10),
    }
    return TabularSchema(
        features=tuple(NumericColumn(name=f"x{at}", minimum=-4, maximum=4) for at in range(FEATURES)),
        target=targets[target],
        owner_identity_type="email",
        owners_column="person",
        record_ids_column="visit",
    )


def points(seed: int, count: int, target: str = "label") -> tuple[np.ndarray, np.ndarray]:
    """Return (count, features) and what is said of each: of three in ten a random label, or a value with much noise."""
    centres = np.random.default_rng(7).normal(0, 1, (CLASSES, FEATURES))
    chance = np.random.default_rng(seed)
    classes = chance.integers(0, CLASSES, count)
    rows = np.clip(centres[classes] + chance.normal(0, 1, (count, FEATURES)), -3.9, 3.9)
    if target == "number":
        return rows, np.clip(2 * rows[:, 0] - rows[:, 1] + chance.normal(0, 2, count), -9.9, 9.9)
    noisy = chance.random(count) < NOISE
    return rows, np.where(noisy, chance.integers(0, CLASSES, count), classes)


def learned(target: str = "label") -> tuple[np.ndarray, np.ndarray]:
    """Return what the checkpoint was trained on."""
    return points(1, ROWS, target)


def table(rows: np.ndarray, wanted: np.ndarray, *, owners: str = "person", target: str = "label") -> bytes:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow([*(f"x{at}" for at in range(FEATURES)), "outcome", "person", "visit"])
    for at, (row, value) in enumerate(zip(rows, wanted, strict=True)):
        said = LABELS[int(value)] if target == "label" else float(value)
        writer.writerow([*map(float, row), said, f"{owners}-{at // EACH}@example.org", f"{owners}-visit-{at}"])
    return written.getvalue().encode()


def add_datasets(doors: Doors, target: str = "label", *, prefix: str = "") -> None:
    rows, wanted = learned(target)
    unseen = points(2, UNSEEN, target)
    for name, content in (
        ("visits", table(rows, wanted, target=target)),
        ("unseen", table(*unseen, owners="stranger", target=target)),
    ):
        files = {"file": content}
        register_dataset(prefix + name, schema(target), files, caller=world.ADMIN, once=world.NOTHING, doors=doors)


def network(outputs: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN[0]), nn.ReLU(), nn.Linear(HIDDEN[0], outputs))


def trained(target: str = "label", training: Training = TRAINING) -> nn.Sequential:
    """Return a network that learned as it is told, with `TRAINING` nearly everything by heart."""
    rows, wanted = learned(target)
    inputs = torch.tensor(rows / 4, dtype=torch.float32)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = network(CLASSES if target == "label" else 1)
        optimiser = torch.optim.AdamW(made.parameters(), lr=training.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.epochs)
        for _ in range(training.epochs):
            for part in torch.split(torch.randperm(len(rows)), training.batch_size):
                optimiser.zero_grad()
                outputs = made(inputs[part])
                if target == "label":
                    loss = nn.functional.cross_entropy(outputs, torch.tensor(wanted)[part])
                else:
                    wished = torch.tensor(wanted / 10, dtype=torch.float32)[part]
                    loss = (outputs[:, 0] - wished).square().mean()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            schedule.step()
    return made


def write(directory: Path, made: nn.Module) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: one.contiguous() for name, one in made.state_dict().items()}, directory / "model.safetensors")
    return directory


def order(directory: Path, **said: Any) -> CheckpointOrder:
    given: dict[str, Any] = {
        "name": "checkpoint",
        "dataset": "visits",
        "evaluation": "unseen",
        "directory": str(directory),
        "kind": ArchitectureKind.PERCEPTRON,
        "hidden": HIDDEN,
        "training": TRAINING,
    }
    return CheckpointOrder(**given | said)


def add_checkpoint(doors: Doors, directory: Path, **said: Any) -> str:
    """Register the checkpoint and let it be proved; return the model's id."""
    made = register_checkpoint(order(directory, **said), caller=world.ADMIN, once=world.NOTHING, doors=doors)
    world.drain(doors)
    return str(made.body["id"])


def person(number: int) -> str:
    return f"person-{number}@example.org"
