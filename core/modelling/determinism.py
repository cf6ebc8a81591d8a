"""Pinned arithmetic: one torch build, instruction set and thread count give one result, bit for bit.

`environment` says which ones these are; manifests and certificates carry it, since equality is promised only within it.
"""

from __future__ import annotations

import platform
from typing import Any

import torch


def pinned(threads: int) -> None:
    """Make this process compute reproducibly on `threads` threads; call it before any arithmetic.

    Raises:
        ValueError: threads is not positive.
    """
    if threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)


def environment() -> dict[str, Any]:
    """Return all that the bits depend on besides the data, the recipe and the keys."""
    return {
        "torch": str(torch.__version__),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
