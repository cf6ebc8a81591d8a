from __future__ import annotations

import pytest
import torch

from core.domain.errors import Unusable
from core.modelling.determinism import device_of, environment, pinned


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


def test_the_environment_names_a_device_only_where_it_is_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(device_of("cpu")) == environment()
    assert "device" not in environment()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "some GPU")
    assert environment(torch.device("cuda"))["device"] == "some GPU"


def test_a_gpu_that_is_not_there_is_not_replaced_by_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unusable, match="sees no GPU"):
        device_of("cuda")
