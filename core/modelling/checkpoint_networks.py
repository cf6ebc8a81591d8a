"""Networks of checkpoints: built from an architecture, filled from safetensors, asked for answers and the features below.

Nothing of a checkpoint is ever executed: architectures are built by this house or by the transformers library from a
config, and a file holds tensors and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from core.domain.checkpoint import Architecture, ArchitectureKind
from core.domain.errors import CheckpointRefused
from core.domain.task import Modality

IGNORED = -100
AT_ONCE = 256
"""Rows that go through a network together."""


def build(architecture: Architecture) -> nn.Module:
    """Return an untrained network of a built-in kind, drawn by torch's own stream."""
    layers: list[nn.Module] = []
    if architecture.kind is ArchitectureKind.CONVOLUTIONAL:
        before = architecture.inputs[0]
        for number, channels in enumerate(architecture.channels):
            stride = 2 if number == 0 else 1
            layers += [nn.Conv2d(before, channels, 3, stride=stride, padding=1), nn.ReLU()]
            before = channels
    if len(architecture.inputs) > 1:
        layers.append(nn.Flatten())
    shapes = [shape for shape in architecture.shapes().values() if len(shape) == 2]  # noqa: PLR2004 - linear layers
    for number, (out, width) in enumerate(shapes):
        layers += [*([nn.ReLU()] if number else []), nn.Linear(width, out)]
    return nn.Sequential(*layers)


def load(architecture: Architecture, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network that these tensors are, ready to answer.

    Raises:
        CheckpointRefused: they are those of another network, or not finite.
    """
    with torch.random.fork_rng([]):
        network = build(architecture)
    wanted = dict(network.state_dict())
    fitting = {name: one.to(wanted[name].dtype) for name, one in tensors.items() if name in wanted}
    if fitting.keys() != wanted.keys() or any(fitting[name].shape != wanted[name].shape for name in wanted):
        raise CheckpointRefused("the tensors are not those of the architecture")
    if not all(one.isfinite().all() for one in fitting.values() if one.is_floating_point()):
        raise CheckpointRefused("a tensor holds numbers that are not finite")
    network.load_state_dict(fitting)
    return network.eval()


def fresh_like(architecture: Architecture, modality: Modality, network: nn.Module) -> Callable[[], nn.Module]:
    """Return what makes a network of a config afresh under torch's seed; what its low-rank checkpoint keeps frozen stays."""
    from core.modelling.hugging_face import fresh_like as from_config

    return from_config(architecture, modality, network)


@torch.no_grad()
def answers(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return outputs (n, …) and the features (n, width) that the last linear layer stands on, where there is one.

    Args:
        network: in whatever mode it should answer.
        inputs: (n, …)
    """
    head = last_linear(network)
    seen: list[Tensor] = []
    handle = None if head is None else head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    outputs, features = [], []
    try:
        for part in torch.split(inputs, AT_ONCE):
            seen.clear()
            answer = network(part)
            outputs.append(getattr(answer, "logits", answer))
            features += [one for one in seen[-1:] if one.dim() == 2]  # noqa: PLR2004 - (rows, width)
    finally:
        if handle is not None:
            handle.remove()
    whole = torch.cat(outputs)
    return whole, torch.cat(features) if sum(map(len, features)) == len(whole) else None


def last_linear(network: nn.Module) -> nn.Linear | None:
    found = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return found[-1] if found else None
