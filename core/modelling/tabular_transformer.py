"""A transformer over the columns of a table (FT-Transformer, arXiv:2106.11959): every column is one token.

    number x ──▶ x · slope + offset ─┐
    category ──▶ its row of a table  ├─ after a class token ──transformer──▶ features of the class token
    empty cell ──▶ the column's own ─┘

There are no positions: a column is known by its own slope, offset or rows. Slopes, offsets and rows start large, so that
columns are told apart also by a backbone that learned nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from core.domain.model import BackboneRecipe
from core.domain.task import TaskName
from core.modelling.tensors import NamedTensors
from core.modelling.transformer import Transformer, TransformerShape


@dataclass(frozen=True, kw_only=True)
class TabularTransformerShape(TransformerShape):
    """All sizes of a transformer over columns."""

    numbers: int
    """How many columns hold numbers; they come first."""
    categories: tuple[int, ...]
    """How many categories each of the other columns has."""

    @classmethod
    def from_recipe(
        cls, recipe: BackboneRecipe, *, numbers: int, categories: tuple[int, ...], outputs: int, task: TaskName
    ) -> TabularTransformerShape:
        """Return the shape that a recipe means for these columns; patches and shifts mean nothing here."""
        return cls(
            numbers=numbers,
            categories=categories,
            width=recipe.width,
            layers=recipe.layers,
            heads=recipe.heads,
            outputs=outputs,
            task=task,
        )

    @property
    def tokens(self) -> int:
        """The class token and one per column."""
        return 1 + self.numbers + len(self.categories)

    @property
    def input_shape(self) -> tuple[int]:
        return (self.numbers + len(self.categories),)

    @property
    def tables(self) -> Collection[str]:
        return ("class_token", "slopes", "offsets", "categories", "empty")

    def embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "class_token": (1, 1, self.width),
            "slopes": (self.numbers, self.width),
            "offsets": (self.numbers, self.width),
            "categories": (sum(self.categories), self.width),
            "empty": (*self.input_shape, self.width),
        }

    def backbone(self, tensors: NamedTensors) -> TabularTransformer:
        return TabularTransformer(self, tensors)


@dataclass(frozen=True)
class TabularTransformer(Transformer):
    """A backbone for tables."""

    shape: TabularTransformerShape

    def embed(self, inputs: Tensor) -> Tensor:
        """Return (n, tokens, width) hidden states at boundary 0 for (n, columns) cells, NaN where one is empty."""
        empty = inputs.isnan()
        known = inputs.masked_fill(empty, 0.0)
        numbers, codes = torch.split(known, [self.shape.numbers, len(self.shape.categories)], dim=1)
        read = numbers[:, :, None] * self.tensors["slopes"] + self.tensors["offsets"]
        starts = torch.tensor([0, *accumulate(self.shape.categories)][:-1], dtype=torch.int64, device=codes.device)
        named = self.tensors["categories"][codes.to(torch.int64) + starts]
        columns = torch.cat((read, named), dim=1)
        columns = torch.where(empty[:, :, None], self.tensors["empty"], columns)
        return torch.cat((self.tensors["class_token"].expand(len(inputs), -1, -1), columns), dim=1)
