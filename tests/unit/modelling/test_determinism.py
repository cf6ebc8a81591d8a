from __future__ import annotations

import pytest
import torch

from core.modelling.determinism import environment, pinned


def test_pinning_is_what_the_environment_then_says() -> None:
    threads = torch.get_num_threads()
    try:
        pinned(1)
        assert torch.are_deterministic_algorithms_enabled()
        assert environment()["threads"] == 1
        assert environment()["torch"] == torch.__version__
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must be >= 1"):
        pinned(0)
