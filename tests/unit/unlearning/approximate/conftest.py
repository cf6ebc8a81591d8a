from __future__ import annotations

from collections.abc import Callable, Iterator

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


class Worlds(dict[str, Judged]):
    """Small worlds by name, each with what its original and one oracle score; trained when somebody asks."""

    def __missing__(self, name: str) -> Judged:
        made: dict[str, Callable[[], World]] = {
            "mixture": lambda: mixture(forget=30, retain=270),
            "digits": lambda: digits(forget=30, retain=270),
            "curve": lambda: curve(forget=30, retain=270, epochs=100),
            "facts": lambda: facts(forget=8, retain=40),
        }
        self[name] = judged(made[name]())
        return self[name]


@pytest.fixture(scope="session")
def worlds() -> dict[str, Judged]:
    return Worlds()
