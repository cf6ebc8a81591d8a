"""Which rows meet in which step: pure functions of sizes and a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import torch
from torch import Tensor

from core.unlearning.approximate.samples import Stream, chunks

Step = Mapping[Stream, Tensor]


class Selector(Protocol):
    @property
    def pruned(self) -> frozenset[int]:
        """Rows of the forget set that it never feeds, and says so; whoever verifies scores them all the same."""

    def steps(self, sizes: Mapping[Stream, int], batch_size: int, generator: torch.Generator) -> Sequence[Step]:
        """Return one epoch."""


@dataclass(frozen=True)
class Alone:
    """One stream by itself."""

    stream: Stream
    share: float = 1.0
    """How much of it, drawn afresh each epoch."""
    pruned: frozenset[int] = frozenset()

    def steps(self, sizes: Mapping[Stream, int], batch_size: int, generator: torch.Generator) -> Sequence[Step]:
        rows = torch.randperm(sizes[self.stream], generator=generator)
        return [{self.stream: part} for part in chunks(rows[: ceil(self.share * len(rows))], batch_size)]


@dataclass(frozen=True)
class Zipped:
    """Every step has rows of both streams; one epoch is once through the anchor, the other is gone round and round."""

    anchor: Stream = "forget"
    partner: Stream = "retain"
    pruned: frozenset[int] = frozenset()

    def steps(self, sizes: Mapping[Stream, int], batch_size: int, generator: torch.Generator) -> Sequence[Step]:
        own = torch.randperm(sizes[self.anchor], generator=generator)
        rounds = ceil(len(own) / sizes[self.partner])
        other = torch.cat([torch.randperm(sizes[self.partner], generator=generator) for _ in range(rounds)])
        pairs = zip(chunks(own, batch_size), chunks(other[: len(own)], batch_size), strict=True)
        return [{self.anchor: left, self.partner: right} for left, right in pairs]


@dataclass(frozen=True)
class Mixed:
    """All of the forget set and a share of the retained rows, shuffled together."""

    retain_share: float = 1.0
    pruned: frozenset[int] = frozenset()

    def steps(self, sizes: Mapping[Stream, int], batch_size: int, generator: torch.Generator) -> Sequence[Step]:
        forget = sizes["forget"]
        retain = torch.randperm(sizes["retain"], generator=generator)
        kept = retain[: ceil(self.retain_share * len(retain))]
        rows = torch.cat([torch.arange(forget), kept + forget])
        order = rows[torch.randperm(len(rows), generator=generator)]
        return [
            {"forget": part[part < forget], "retain": part[part >= forget] - forget}
            for part in chunks(order, batch_size)
        ]


@dataclass(frozen=True)
class Coreset:
    """A wrapper that spares some forget rows the training (arXiv:2502.15082), and has to name them."""

    inner: Selector
    spared: frozenset[int]

    @property
    def pruned(self) -> frozenset[int]:
        return self.spared | self.inner.pruned

    def steps(self, sizes: Mapping[Stream, int], batch_size: int, generator: torch.Generator) -> Sequence[Step]:
        kept = torch.tensor([row for row in range(sizes["forget"]) if row not in self.spared])
        inner = self.inner.steps({**sizes, "forget": len(kept)}, batch_size, generator)
        return [{stream: kept[rows] if stream == "forget" else rows for stream, rows in step.items()} for step in inner]
