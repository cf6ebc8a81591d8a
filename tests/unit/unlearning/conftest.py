"""Every test of the trainer runs on one thread with deterministic kernels, and leaves the process as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from core.modelling.determinism import pinned


@pytest.fixture(autouse=True, scope="package")
def _pinned() -> Iterator[None]:
    threads = torch.get_num_threads()
    pinned(1)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
