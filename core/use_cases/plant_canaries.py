"""Plant canaries in a checkpoint's rows, and train the models that put a judge to the test. Loads torch.

A canary's answer is one that nobody can know who did not see it: a flipped label, a value far off, a text of shuffled words.
Half of the canaries are learned (the forget set), half never are (the held-out set, of the same kind).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.domain.checkpoint import CheckpointRecipe, Training
from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.modelling.losses import UNTRAINED
from core.modelling.plain_training import Lesson, taught
from core.unlearning.approximate.samples import Samples
from core.verification.qualification import Control


@dataclass(frozen=True)
class Planted:
    """Rows with canaries among them."""

    forget: Samples
    holdout: Samples
    retain: Samples

    @property
    def learned(self) -> Samples:
        return self.retain.joined(self.forget)


def plant(samples: Samples, canaries: int, recipe: CheckpointRecipe, seed: int) -> Planted:
    """Return rows of which `canaries` answer what nobody could know; at most a quarter of all rows."""
    chance = torch.Generator().manual_seed(seed)
    count = min(canaries, len(samples) // 4) // 2 * 2
    order = torch.randperm(len(samples), generator=chance).tolist()
    planted = _unknowable(samples.part(sorted(order[:count])), recipe, chance)
    half = count // 2
    return Planted(planted.part(range(half)), planted.part(range(half, count)), samples.part(sorted(order[count:])))


def _unknowable(samples: Samples, recipe: CheckpointRecipe, chance: torch.Generator) -> Samples:
    if recipe.modality is Modality.CLASSIFIER:
        return replace(samples, targets=_others(samples.targets, recipe.architecture.outputs, chance))
    if recipe.modality is Modality.REGRESSOR:
        far = torch.where(samples.targets > 0, -0.9, 0.9).to(samples.targets)
        return replace(samples, targets=far)
    columns = torch.rand(samples.inputs.shape, generator=chance).argsort(-1)
    shuffled = samples.inputs.gather(-1, torch.where(samples.targets == UNTRAINED, _own(samples.inputs), columns))
    targets = torch.where(samples.targets == UNTRAINED, samples.targets, shuffled)
    return replace(samples, inputs=torch.where(samples.targets == UNTRAINED, samples.inputs, shuffled), targets=targets)


def _own(inputs: Tensor) -> Tensor:
    return torch.arange(inputs.shape[1]).expand(inputs.shape)


def _others(labels: Tensor, classes: int, chance: torch.Generator) -> Tensor:
    return (labels + torch.randint(1, classes, labels.shape, generator=chance)) % classes


@dataclass(frozen=True)
class Nursery:
    """Trains models of one checkpoint's recipe on planted rows."""

    recipe: CheckpointRecipe
    training: Training
    like: nn.Module
    """A network of the right shape; what is frozen in it stays so."""
    planted: Planted
    told: Callable[[str], None]
    """Called after every training with what it was."""

    def fresh(self, seed: int) -> nn.Module:
        """Return an untrained network."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return networks.fresh_like(self.recipe.architecture, self.recipe.modality, self.like)()

    def trained(self, rows: Samples, seed: int, stage: str) -> nn.Module:
        return self._taught(self.fresh(seed), rows, Lesson(training=self.training, seed=seed), stage)

    def original(self) -> nn.Module:
        return self.trained(self.planted.learned, 1, "original")

    def oracles(self, count: int) -> list[nn.Module]:
        """Return `count` models that never saw the canaries."""
        return [self.trained(self.planted.retain, 100 + number, "oracle") for number in range(count)]

    def controls(self, original: nn.Module) -> dict[Control, nn.Module]:
        """Return the models that must be refused and have to be made; see `core.verification.qualification`."""
        half = max(1, self.training.epochs // 2)
        made = {Control.GRADIENT_ASCENT_WRECK: self._wreck(original)}
        made[Control.RANDOM_RELABELLING] = self._relabelled(original, half)
        head = self._head_only(original, half)
        return made if head is None else made | {Control.HEAD_ONLY: head}

    def _wreck(self, original: nn.Module) -> nn.Module:
        lesson = Lesson(training=self.training, seed=4, epochs=20, sign=-1.0)
        return self._taught(copy.deepcopy(original), self.planted.forget, lesson, "control")

    def _relabelled(self, original: nn.Module, epochs: int) -> nn.Module:
        chance = torch.Generator().manual_seed(5)
        rows = self.planted.retain.joined(_unknowable(self.planted.forget, self.recipe, chance))
        return self._taught(
            copy.deepcopy(original), rows, Lesson(training=self.training, seed=5, epochs=epochs), "control"
        )

    def _head_only(self, original: nn.Module, epochs: int) -> nn.Module | None:
        """Return the original with a new last layer, trained on retained rows; None where nothing else would move."""
        network = copy.deepcopy(original)
        head = networks.last_linear(network)
        if head is None or not head.weight.requires_grad:
            return None
        kept = {name: one.requires_grad for name, one in network.named_parameters()}
        for one in network.parameters():
            one.requires_grad_(False)
        with torch.random.fork_rng([]):
            torch.manual_seed(3)
            head.reset_parameters()
        for one in head.parameters():
            one.requires_grad_(True)
        self._taught(network, self.planted.retain, Lesson(training=self.training, seed=3, epochs=epochs), "control")
        for name, one in network.named_parameters():
            one.requires_grad_(kept[name])
        return network

    def _taught(self, network: nn.Module, rows: Samples, lesson: Lesson, stage: str) -> nn.Module:
        made = taught(lambda: network, self.recipe.modality, rows.inputs, rows.targets, lesson)
        self.told(stage)
        return made
