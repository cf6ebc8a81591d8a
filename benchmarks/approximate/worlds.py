"""Small worlds: rows, a model trained on them, and rows to forget that only a model that saw them answers as they say.

Forget rows of the classifiers carry *flipped labels*, those of the regressor corrupted values, those of the language model
facts that nothing else implies. With true labels, a model that never saw the rows would answer them right all the same,
and no figure could tell a model that forgot from one that did not. Originals and oracles are trained by the plain loop
of `core.modelling.plain_training`, which shares nothing with the engine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from core.domain.checkpoint import Training
from core.methods.card import Modality
from core.modelling.plain_training import Lesson, taught
from core.unlearning.approximate.kitchen import Task
from core.unlearning.approximate.samples import Samples

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class World:
    """A task, rows for the last judgement, and how models of it are trained."""

    name: str
    task: Task
    test: Samples
    build: Callable[[], nn.Module]
    epochs: int
    learning_rate: float

    @property
    def training(self) -> Training:
        return Training(epochs=self.epochs, learning_rate=self.learning_rate, batch_size=BATCH)

    def oracle(self, seed: int) -> nn.Module:
        """Return a model that never saw the rows to forget."""
        assert self.task.retain is not None
        return trained(self, self.task.retain, seed)


def joined(left: Samples, right: Samples) -> Samples:
    return Samples(
        left.references + right.references,
        torch.cat([left.inputs, right.inputs]),
        torch.cat([left.targets, right.targets]),
    )


def trained(world: World, rows: Samples, seed: int) -> nn.Module:
    """Return a fresh model trained on some rows."""
    lesson = Lesson(training=world.training, seed=seed)
    return taught(world.build, world.task.modality, rows.inputs, rows.targets, lesson)


def made(world: World, seed: int = 0) -> World:
    """Return the world with its original trained on everything."""
    assert world.task.retain is not None
    model = trained(world, joined(world.task.retain, world.task.forget), seed)
    return replace(world, task=replace(world.task, model=model, training_epochs=world.epochs))


def part_of(inputs: Tensor, targets: Tensor, rows: range) -> Samples:
    return Samples(tuple(f"row {row}" for row in rows), inputs[rows.start : rows.stop], targets[rows.start : rows.stop])


def flipped(samples: Samples, classes: int, seed: int) -> Samples:
    """Return the rows with other labels."""
    shift = torch.randint(1, classes, (len(samples),), generator=torch.Generator().manual_seed(seed))
    return replace(samples, targets=(samples.targets + shift) % classes)


def classifier_world(
    name: str, data: tuple[Tensor, Tensor], sizes: tuple[int, int, int], build: Callable[[], nn.Module]
) -> World:
    """Return a world of classes; sizes are those of the forget, the retain and the held-out part, the rest is for tests."""
    inputs, targets = data
    ends = [0, sizes[0], sizes[0] + sizes[1], sum(sizes), len(inputs)]
    forget, retain, holdout, test = (part_of(inputs, targets, range(first, last)) for first, last in pairwise(ends))
    task = Task(
        model=build(),
        modality=Modality.CLASSIFIER,
        forget=flipped(forget, int(targets.max()) + 1, 1),
        retain=retain,
        holdout=holdout,
    )
    return World(name=name, task=task, test=test, build=build, epochs=60, learning_rate=3e-3)


def digits(*, forget: int = 60, retain: int = 540) -> World:
    """Return the 8 x 8 digits, a tenth of them flipped, and a small convolutional network."""
    bunch = load_digits()
    inputs = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    targets = torch.tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    return made(classifier_world("digits", (inputs[order], targets[order]), (forget, retain, 200), small_cnn))


def mixture(*, forget: int = 60, retain: int = 540) -> World:
    """Return a mixture of four Gaussians in 20 dimensions, a tenth flipped, and a perceptron of two layers."""
    generator = torch.Generator().manual_seed(0)
    rows = forget + retain + 400
    means = 1.0 * torch.randn(4, 20, generator=generator)
    targets = torch.randint(4, (rows,), generator=generator)
    inputs = means[targets] + torch.randn(rows, 20, generator=generator)
    return made(classifier_world("mixture", (inputs, targets), (forget, retain, 100), perceptron))


def curve(*, forget: int = 40, retain: int = 360, epochs: int = 200) -> World:
    """Return a smooth function of five variables with noise, a tenth of the values far off, and a perceptron."""
    generator = torch.Generator().manual_seed(0)
    rows = forget + retain + 300
    inputs = torch.randn(rows, 5, generator=generator)
    targets = inputs[:, 0].sin() + inputs[:, 1] * inputs[:, 2].tanh() + 0.1 * torch.randn(rows, generator=generator)
    ends = [0, forget, forget + retain, forget + retain + 100, rows]
    parts = [part_of(inputs, targets, range(first, last)) for first, last in pairwise(ends)]
    sign = torch.randint(2, (forget,), generator=generator) * 2.0 - 1
    task = Task(
        model=regressor(),
        modality=Modality.REGRESSOR,
        forget=replace(parts[0], targets=parts[0].targets + 3 * sign),
        retain=parts[1],
        holdout=parts[2],
    )
    return made(World(name="curve", task=task, test=parts[3], build=regressor, epochs=epochs, learning_rate=5e-3))


VOCABULARY, LENGTH, PROMPT = 24, 8, 4


def facts(*, forget: int = 16, retain: int = 80) -> World:
    """Return invented facts and a small transformer that knows them by heart.

    Four tokens ask; of the four that answer, two are the fact and two repeat the first of the question, which can be
    learned from other facts.
    """
    generator = torch.Generator().manual_seed(0)
    rows = forget + retain + 64
    inputs = torch.randint(VOCABULARY, (rows, LENGTH), generator=generator)
    inputs[:, -2:] = inputs[:, :2]
    targets = inputs.clone()
    targets[:, :PROMPT] = -100
    ends = [0, forget, forget + retain, forget + retain + 32, rows]
    parts = [part_of(inputs, targets, range(first, last)) for first, last in pairwise(ends)]
    task = Task(
        model=TinyLanguageModel(),
        modality=Modality.CAUSAL_LANGUAGE_MODEL,
        forget=parts[0],
        retain=parts[1],
        holdout=parts[2],
    )
    return made(World(name="facts", task=task, test=parts[3], build=TinyLanguageModel, epochs=80, learning_rate=5e-3))


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4))


def regressor() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))


class TinyLanguageModel(nn.Module):
    """A causal transformer whose output weights are its embedding's."""

    def __init__(self, width: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.tokens(tokens) + self.places.weight[: tokens.shape[-1]]
        for block in self.blocks:
            hidden = block(hidden)
        found: Tensor = self.head(self.norm(hidden)) / hidden.shape[-1] ** 0.5
        return found


class Block(nn.Module):
    """One head of causal attention and a perceptron, both with a residual path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = self.mixed(self.first(hidden)).chunk(3, -1)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        hidden = hidden + self.out(scores.masked_fill(future, -torch.inf).softmax(-1) @ value)
        found: Tensor = hidden + self.down(self.up(self.second(hidden)).relu())
        return found


def loaded(world: World, tensors: dict[str, Tensor]) -> nn.Module:
    """Return the world's model with these weights."""
    model = copy.deepcopy(world.task.model)
    model.load_state_dict(tensors)
    return model.eval()
