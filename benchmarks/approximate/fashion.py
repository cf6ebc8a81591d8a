"""Fashion-MNIST with true labels: a random tenth, and a whole class, forgotten by every classifier method, three seeds.

    python -m benchmarks.approximate.fashion [--quick] [--json FILE]

2,000 of the training pictures and a small convolutional network that learns them by heart, so that a tenth it has seen is
answered better than new ones. Test rows are 1,000 others; of a forgotten class none is among them. Settings are those
of the gate, not tuned here. Nothing is asserted but the judge's own duty: it must pass one oracle more.
"""

from __future__ import annotations

import gzip
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.approximate.report import arguments, chosen_for, data_set, kept, over_seeds, printed
from benchmarks.approximate.worlds import joined
from core.domain.checkpoint import Training
from core.methods.card import Modality
from core.modelling.determinism import pinned
from core.modelling.networks import convolutional
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples
from core.use_cases.compare_methods import Subject

FORGOTTEN_CLASS = 6
"""Shirts: the class that is most like others."""
TRAINING = Training(epochs=20, learning_rate=2e-3, batch_size=32)
QUICK = ("retrain", "gradient_ascent", "salun")


@dataclass(frozen=True)
class Size:
    trained: int
    tested: int
    held_out: int
    oracles: int
    seeds: int


FULL, SMALL = Size(2000, 1000, 300, 19, 3), Size(400, 200, 60, 4, 1)


def pictures(directory: Path, size: Size) -> tuple[Tensor, Tensor]:
    """Return (n, 1, 28, 28) pictures in -1..1 and (n,) classes, shuffled, as many as are needed."""
    with gzip.open(directory / "train20k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(directory / "train20k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    chosen = np.random.default_rng(0).permutation(len(labels))[: size.trained + size.tested + size.held_out]
    return torch.tensor(pixels[chosen], dtype=torch.float32) / 127.5 - 1, torch.tensor(labels[chosen]).long()


def samples(inputs: Tensor, targets: Tensor, rows: Tensor) -> Samples:
    return Samples(tuple(f"row {int(row)}" for row in rows), inputs[rows], targets[rows])


def network() -> torch.nn.Module:
    return convolutional((1, 28, 28), (8, 16), (2, 2), (64,), 10)


def subject(data: tuple[Tensor, Tensor], size: Size, *, whole_class: bool) -> tuple[Subject, Samples]:
    """Return the task and all training rows; the first tenth is forgotten, or everything of one class."""
    inputs, targets = data
    everyone = torch.arange(len(targets))
    learned, tested, held_out = torch.split(everyone, [size.trained, size.tested, size.held_out])
    struck = targets == FORGOTTEN_CLASS if whole_class else everyone < size.trained // 10
    parts = {"forget": learned[struck[learned]], "retain": learned[~struck[learned]]}
    if whole_class:
        tested, held_out = tested[~struck[tested]], held_out[struck[held_out]]
    rows = {name: samples(inputs, targets, part) for name, part in parts.items()}
    task = Task(
        model=network(),
        modality=Modality.CLASSIFIER,
        forget=rows["forget"],
        retain=rows["retain"],
        holdout=samples(inputs, targets, held_out),
    )
    found = Subject(task=task, test=samples(inputs, targets, tested), build=network, training=TRAINING)
    return found, joined(rows["retain"], rows["forget"])


def main() -> None:
    given = arguments("fashion", __doc__)
    size = SMALL if given.quick else FULL
    pinned(1)
    started = time.perf_counter()
    data = pictures(data_set("fashion-mnist"), size)
    methods = chosen_for(Modality.CLASSIFIER, TRAINING, QUICK if given.quick else None)
    result = {}
    for name, whole_class in (("random_tenth", False), ("class", True)):
        one, everything = subject(data, size, whole_class=whole_class)
        result[name], _ = over_seeds(one, everything, methods, oracles=size.oracles, seeds=range(size.seeds))
        printed(name, result[name])
    kept("fashion", given, {"scenarios": result}, time.perf_counter() - started)
    wrong = [name for name, one in result.items() if refused_its_own(one)]
    if wrong and not given.quick:
        sys.exit(f"the judge refused one oracle more: {', '.join(wrong)}")


def refused_its_own(found: dict[str, dict[str, dict[str, dict[str, int]]]]) -> bool:
    """Return whether the judge accused an oracle of anything; not being able to tell is no accusation."""
    return bool(found["models"]["oracle"]["endings"].keys() - {"passed", "underpowered"})


if __name__ == "__main__":
    main()
