"""Pinned arithmetic: one torch build, processor, instruction set and thread count give one result, bit for bit.

`environment` says which ones these are; manifests and certificates carry it, since equality is promised only within it.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
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
        "processor": processor(),
        "machine": platform.machine(),
    }


@cache
def processor() -> str:
    """Return vendor, family and model: math libraries choose their kernels by them, within one instruction set too."""
    wanted = {"vendor_id": "", "cpu family": "", "model": ""}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                wanted[name.strip()] = value.strip()
    except OSError:
        pass
    return " ".join(value for value in wanted.values() if value) or platform.processor() or "unknown"
