from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.approximate.worlds import World, curve, digits, facts, mixture
from tests.unit.unlearning.approximate.scores import Judged, judged


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def worlds() -> dict[str, Judged]:
    """Return small worlds by name, each with what its original and one oracle score."""
    small: list[World] = [
        mixture(forget=30, retain=270),
        digits(forget=40, retain=360),
        curve(forget=30, retain=270),
        facts(forget=8, retain=40),
    ]
    return {world.name: judged(world) for world in small}
