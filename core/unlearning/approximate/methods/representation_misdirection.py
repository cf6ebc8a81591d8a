"""`representation_misdirection`: a layer that answers noise where it should not know (arXiv:2403.03218)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from core.domain.errors import MethodNeedsUnmet
from core.methods.representation_misdirection import RepresentationMisdirectionSettings
from core.modelling.tensors import NamedTensors
from core.unlearning.approximate.adapters.token_losses import IGNORED
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.masks import FROZEN, Mask
from core.unlearning.approximate.recipe import Descent, Pass, Phase, Recipe, Term, Values
from core.unlearning.approximate.samples import Batch
from core.unlearning.approximate.selectors import Zipped

DIRECTION = "direction"


def recipe(settings: RepresentationMisdirectionSettings) -> Recipe:
    terms = [
        Term(stream="forget", values=steered(settings), per="row"),
        Term(stream="retain", values=kept(settings), weight=settings.retain_weight, per="row"),
    ]
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    return Recipe(
        phases=[Phase(passes=[Pass(selector=Zipped(), terms=terms)], epochs=settings.epochs, descent=descent)],
        prepare=partial(draw_direction, settings=settings),
        mask=partial(nearby_blocks, settings=settings),
    )


def steered(settings: RepresentationMisdirectionSettings) -> Values:
    """Return the distance of each row's activations from the drawn direction."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        found = kitchen.features(kitchen.student, batch, layer_of(kitchen.student, settings))
        target = settings.steering * kitchen.kept[DIRECTION].to(found)
        return mean_square(found - target, batch.targets)

    return values


def kept(settings: RepresentationMisdirectionSettings) -> Values:
    """Return the distance of each row's activations from the original's."""

    def values(kitchen: Kitchen, batch: Batch) -> Tensor:
        layer = layer_of(kitchen.student, settings)
        found = kitchen.features(kitchen.student, batch, layer)
        with torch.no_grad():
            before = kitchen.features(kitchen.original, batch, layer)
        return mean_square(found - before, batch.targets)

    return values


def mean_square(difference: Tensor, targets: Tensor) -> Tensor:
    """Return (b,) the mean over the answer's tokens and all channels.

    Args:
        difference: (b, t, width).
        targets: (b, t), -100 where a token is none of the answer.
    """
    counted = (targets != IGNORED).to(difference)
    return (difference.square().mean(-1) * counted).sum(-1) / counted.sum(-1)


def draw_direction(kitchen: Kitchen, *, settings: RepresentationMisdirectionSettings) -> NamedTensors:
    """Return a random unit vector as wide as the layer."""
    first = kitchen.take("forget", torch.tensor([0]))
    with torch.no_grad():
        width = kitchen.features(kitchen.original, first, layer_of(kitchen.original, settings)).shape[-1]
    drawn = torch.rand(width, generator=kitchen.generator(DIRECTION))
    return {DIRECTION: drawn / drawn.norm()}


def nearby_blocks(kitchen: Kitchen, *, settings: RepresentationMisdirectionSettings) -> Mask:
    """Return the mask that lets only the steered block and those just before it change."""
    model = kitchen.student
    layer = layer_of(model, settings)
    parent, _, last = layer.rpartition(".")
    if not last.isdigit():
        free = [layer]
    else:
        first = max(0, int(last) - settings.trained_layers + 1)
        free = [f"{parent}.{number}".lstrip(".") for number in range(first, int(last) + 1)]
    prefixes = tuple(f"{name}." for name in free)
    return {name: FROZEN for name, _ in model.named_parameters() if not name.startswith(prefixes)}


def layer_of(model: nn.Module, settings: RepresentationMisdirectionSettings) -> str:
    """Return the layer that was set, or the middle one of the longest row of blocks.

    Raises:
        MethodNeedsUnmet: there is no such layer.
    """
    if settings.layer:
        if settings.layer not in dict(model.named_modules()):
            raise MethodNeedsUnmet(f"the model has no layer {settings.layer}")
        return settings.layer
    rows = [(len(one), name) for name, one in model.named_modules() if isinstance(one, nn.ModuleList | nn.Sequential)]
    if not rows:
        raise MethodNeedsUnmet("the model has no row of blocks: name a layer")
    length, name = max(rows, key=lambda row: (row[0], -len(row[1])))
    return f"{name}.{(length - 1) // 2}".lstrip(".")
