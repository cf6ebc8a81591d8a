"""A model drawn afresh, and the proof that nothing of the original is left in it.

Every trained weight is first filled with NaN: whatever `reset_parameters` does not reach is found by that, in any depth
of modules. Then no weight may correlate with the original's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.domain.errors import NotReinitialised
from core.unlearning.approximate.masks import trained_parameters

LARGEST_CORRELATION = 0.05
FEWEST_ENTRIES = 64
STANDARD_ERRORS = 5


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Make torch's own random numbers a function of a seed, and leave them afterwards as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def reinitialise(model: nn.Module, original: nn.Module, seed: int, builder: Callable[[], nn.Module] | None) -> None:
    """Draw every trained weight of a model afresh, in place, batch-norm statistics included.

    Raises:
        NotReinitialised: some weight cannot be drawn afresh, or still carries the original's.
    """
    trained = trained_parameters(model)
    frozen = {name: one.detach().clone() for name, one in model.named_parameters() if name not in trained}
    device = next(iter(trained.values())).device
    with torch.no_grad(), seeded(seed, device):
        if builder is not None:
            model.load_state_dict(builder().state_dict())
        else:
            _reset(model, trained)
        for name, kept in frozen.items():
            model.get_parameter(name).copy_(kept)
    check_fresh(model, original)


def fresh_copy(model: nn.Module, seed: int, builder: Callable[[], nn.Module] | None) -> nn.Module:
    """Return an untrained network of the same shape."""
    network = copy.deepcopy(model)
    reinitialise(network, model, seed, builder)
    return network.eval()


def _reset(model: nn.Module, trained: dict[str, nn.Parameter]) -> None:
    for parameter in trained.values():
        parameter.fill_(math.nan)
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset):
            _reset_what_is_not_drawn(module, reset)
    left = [name for name, parameter in trained.items() if parameter.isnan().any()]
    if left:
        raise NotReinitialised(
            f"nothing draws {', '.join(left)} afresh: give its module reset_parameters, or a builder"
        )


def _reset_what_is_not_drawn(module: nn.Module, reset: Callable[[], object]) -> None:
    """Reset a module, leaving what another one has drawn: a tied weight is drawn where it has its first name."""
    drawn = {name: one.clone() for name, one in module.named_parameters() if not one.isnan().any()}
    reset()
    for name, kept in drawn.items():
        module.get_parameter(name).copy_(kept)


def check_fresh(model: nn.Module, original: nn.Module) -> None:
    """Refuse a model whose weights still follow the original's.

    Raises:
        NotReinitialised: a weight correlates with the original's by more than 0.05 and more than chance allows.
    """
    before = dict(original.named_parameters())
    for name, parameter in trained_parameters(model).items():
        if parameter.numel() < FEWEST_ENTRIES:
            continue
        found = abs(correlation(parameter, before[name]))
        if found > max(LARGEST_CORRELATION, STANDARD_ERRORS / math.sqrt(parameter.numel())):
            raise NotReinitialised(f"{name} correlates with the original by {found:.2f}")


def correlation(left: Tensor, right: Tensor) -> float:
    """Return Pearson's correlation of two tensors' entries; 0 where one of them is constant."""
    one, other = (tensor.detach().double().flatten() for tensor in (left, right))
    one, other = one - one.mean(), other - other.mean()
    scale = one.norm() * other.norm()
    return float(one @ other / scale) if scale > 0 else 0.0
