"""A small vision transformer (arXiv:2010.11929): images are cut into square patches, one token each.

    images ──patches──▶ tokens + positions, after a class token ──transformer──▶ features of the class token

Its arithmetic is that of Hugging Face's ViT, learned positions included.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from core.domain.errors import Impossible
from core.domain.model import BackboneRecipe
from core.modelling.images import shifted
from core.modelling.tensors import NamedTensors
from core.modelling.transformer import Transformer, TransformerShape

MOST_PATCHES = 64


def fitting_patch(height: int, width: int, wanted: int | None) -> int:
    """Return the edge of a patch in pixels; None asks for the smallest that gives at most 64 patches.

    Single pixels are the last resort: they cost four times as much as patches of two, and say no more.

    Raises:
        Impossible: no patch divides both edges into few enough patches.
    """
    common = math.gcd(height, width)
    fitting = [edge for edge in range(1, common + 1) if common % edge == 0]
    if wanted is not None:
        if wanted not in fitting:
            raise Impossible(f"patches of {wanted} pixels do not tile images of {height} x {width}")
        return wanted
    few = [edge for edge in fitting if height * width // edge**2 <= MOST_PATCHES]
    if not few:
        raise Impossible(f"no square patch tiles images of {height} x {width} with at most {MOST_PATCHES} patches")
    return min(few, key=lambda edge: (edge == 1, edge))


@dataclass(frozen=True, kw_only=True)
class VisionTransformerShape(TransformerShape):
    """All sizes of a vision transformer."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    patch: int

    @classmethod
    def from_recipe(
        cls, recipe: BackboneRecipe, image_shape: tuple[int, int, int], classes: int
    ) -> VisionTransformerShape:
        """Return the shape that a recipe means for these images.

        Raises:
            Impossible: the images cannot be cut into patches.
        """
        patch = fitting_patch(image_shape[1], image_shape[2], recipe.patch)
        return cls(
            image_shape=image_shape,
            patch=patch,
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            outputs=classes,
        )

    @property
    def tokens(self) -> int:
        """The class token and one per patch."""
        return 1 + self.image_shape[1] * self.image_shape[2] // self.patch**2

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.image_shape

    @property
    def tables(self) -> Collection[str]:
        return ("positions", "class_token")

    def embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "patch.weight": (self.width, self.image_shape[0], self.patch, self.patch),
            "patch.bias": (self.width,),
            "class_token": (1, 1, self.width),
            "positions": (1, self.tokens, self.width),
        }

    def augmented(self, inputs: Tensor, recipe: BackboneRecipe, chance: torch.Generator) -> Tensor:
        """Return the images, each moved a little."""
        return shifted(inputs, recipe.shift, chance)

    def backbone(self, tensors: NamedTensors) -> VisionTransformer:
        return VisionTransformer(self, tensors)


@dataclass(frozen=True)
class VisionTransformer(Transformer):
    """A backbone for images."""

    shape: VisionTransformerShape

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width) hidden states at boundary 0 for (n, channels, height, width) images."""
        patches = conv2d(inputs, *self._pair("patch"), stride=self.shape.patch).flatten(2).transpose(1, 2)
        class_token = self.tensors["class_token"].expand(len(inputs), -1, -1)
        return torch.cat((class_token, patches), dim=1) + self.tensors["positions"]
