"""What a run costs: seconds, peak memory, an estimate of floating-point operations, and the share of a retrain."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

BACKWARD = 2
"""A backward pass costs about twice its forward pass."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    seconds: float
    peak_memory_bytes: int
    """Of the device on a GPU; on a CPU, of the whole process since it started."""
    flops: float
    """Counted operations of one row's forward pass, times the rows that went through; backward counts twice."""
    retrain_share: float | None
    """`flops` over those of training on the retained rows for as long as the original was; None where that is unknown."""

    def plus(self, other: Cost) -> Cost:
        """Return what both cost, one after the other."""
        known = self.retrain_share is not None and other.retrain_share is not None
        return Cost(
            seconds=self.seconds + other.seconds,
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
            flops=self.flops + other.flops,
            retrain_share=(self.retrain_share or 0.0) + (other.retrain_share or 0.0) if known else None,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Ledger:
    """Counts rows while a run goes on."""

    device: torch.device
    flops_per_row: float = 0.0
    forward_rows: float = 0.0
    """Rows through a forward pass, a backward pass counted as two."""
    seconds_before: float = 0.0
    """Of earlier attempts, when this run resumes one."""
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def measure(self, forward: Callable[[], object]) -> None:
        """Count the operations of one row's forward pass."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward()
        self.flops_per_row = float(counter.get_total_flops())

    def add(self, rows: int, *, backward: bool) -> None:
        self.forward_rows += rows * (1 + BACKWARD * backward)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def cost(self, retrain_rows: int | None) -> Cost:
        flops = self.flops_per_row * self.forward_rows
        retrain = self.flops_per_row * (1 + BACKWARD) * (retrain_rows or 0)
        return Cost(
            seconds=self.seconds,
            peak_memory_bytes=self._peak(),
            flops=flops,
            retrain_share=flops / retrain if retrain else None,
        )

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
