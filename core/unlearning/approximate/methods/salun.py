"""`salun`: random label on the weights that matter to the rows to forget (arXiv:2310.12508)."""

from __future__ import annotations

from functools import partial

from core.methods.salun import SalunSettings
from core.unlearning.approximate.curvature import mean_gradient
from core.unlearning.approximate.kitchen import Kitchen
from core.unlearning.approximate.masks import Mask, top_share
from core.unlearning.approximate.methods.random_label import passes
from core.unlearning.approximate.recipe import Descent, Phase, Recipe
from core.unlearning.approximate.relabelling import draw_labels


def recipe(settings: SalunSettings) -> Recipe:
    descent = Descent(learning_rate=settings.learning_rate, batch_size=settings.batch_size)
    return Recipe(
        phases=[Phase(passes=passes(), epochs=settings.epochs, descent=descent)],
        prepare=draw_labels,
        mask=partial(saliency, share=settings.mask_share),
    )


def saliency(kitchen: Kitchen, *, share: float) -> Mask:
    """Return the mask of the weights with the largest gradient of the forget loss, by absolute value."""
    found = mean_gradient(kitchen, "forget")
    return top_share({name: one.abs() for name, one in found.items()}, share)
