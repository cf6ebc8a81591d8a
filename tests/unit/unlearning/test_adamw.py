from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.unlearning.exact.adamw import FlatAdamW, cosine


def curved_loss(tensors: dict[str, Tensor]) -> Tensor:
    return (tensors["a"] ** 2).sum() + ((tensors["b"] @ tensors["a"] - 1) ** 2).sum()


def test_it_walks_as_torchs_own_does() -> None:
    chance = torch.Generator().manual_seed(0)
    start = {"a": torch.randn(3, generator=chance), "b": torch.randn((2, 3), generator=chance)}
    rates = {"a": 0.02, "b": 0.05}
    ours = FlatAdamW(start, rates, weight_decay=0.1)
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    groups = [{"params": [tensor], "lr": rates[name]} for name, tensor in theirs.items()]
    reference = torch.optim.AdamW(groups, weight_decay=0.1)
    for _ in range(20):
        ours.step(curved_loss(ours.tensors()), 1.0)
        reference.zero_grad()
        curved_loss(theirs).backward()  # type: ignore[no-untyped-call]
        reference.step()
    for name, tensor in ours.tensors().items():
        torch.testing.assert_close(tensor, theirs[name])


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    factors = [cosine(step, 20, warm_up=4) for step in range(20)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert cosine(20, 20) == pytest.approx(0)
