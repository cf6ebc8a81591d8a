"""Pinned arithmetic: one torch build, processor, instruction set and thread count give one result, bit for bit.

`environment` says which ones these are; manifests and certificates carry it, since equality is promised only within it.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from core.domain.errors import Unusable


def pinned(threads: int) -> None:
    """Make this process compute reproducibly on `threads` threads; call it before any arithmetic.

    Raises:
        ValueError: threads is not positive.
    """
    if threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")
    # Read when CUDA starts; without it, its matrix products may take another way each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(threads)


def device_of(word: str) -> torch.device:
    """Return the device that a setting names, `cpu` or `cuda`: of several GPUs the one that this process was given.

    Raises:
        Unusable: a GPU is wanted and there is none.
    """
    if word == "cuda" and not torch.cuda.is_available():
        raise Unusable("LETHE_TRAINER_DEVICE is cuda, and this process sees no GPU that torch can use.")
    return torch.device(word)


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Return all that the bits depend on besides the data, the recipe and the keys.

    On a CPU, equality within it is promised bit for bit. Where it names a `device`, equality is one of distributions.
    """
    on_gpu = (
        {"device": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
        if device is not None and device.type == "cuda"
        else {}
    )
    return {
        "torch": str(torch.__version__),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "machine": platform.machine(),
        **on_gpu,
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
