"""Networks of checkpoints: built from an architecture, filled from safetensors, asked for answers and the features below.

Nothing of a checkpoint is ever executed: architectures are built by this house or by the transformers library from a
config, and a file holds tensors and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from core.domain.checkpoint import Architecture, ArchitectureKind
from core.domain.errors import CheckpointRefused
from core.domain.task import Modality
from core.modelling.networks import convolutional, flat_perceptron, halving_once

AT_ONCE = 256
"""Rows that go through a network together."""


def build(architecture: Architecture, modality: Modality) -> nn.Module:
    """Return an untrained network, drawn by torch's own stream.

    Raises:
        CheckpointRefused: no such network can be built from a config here.
    """
    if architecture.kind is ArchitectureKind.HUGGING_FACE:
        from core.modelling.hugging_face import build as from_config

        return from_config(architecture, modality)
    if architecture.kind is ArchitectureKind.PERCEPTRON:
        return flat_perceptron(architecture.inputs, architecture.hidden, architecture.outputs)
    channels, height, width = architecture.inputs
    strides = halving_once(architecture.channels)
    return convolutional(
        (channels, height, width), architecture.channels, strides, architecture.hidden, architecture.outputs
    )


def load(
    architecture: Architecture,
    modality: Modality,
    tensors: Mapping[str, Tensor],
    adapter: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Return the network that these tensors are, ready to answer.

    Args:
        architecture: which network.
        modality: what its answers mean.
        tensors: as a directory or a version of it names them; floats of another precision are rounded to the network's own.
        adapter: low-rank factors of a Hugging Face directory that came in a file of their own.

    Raises:
        CheckpointRefused: they are those of another network, or not finite.
    """
    if architecture.kind is ArchitectureKind.HUGGING_FACE:
        from core.modelling.hugging_face import load as from_directory

        return from_directory(architecture, modality, dict(tensors), None if adapter is None else dict(adapter))
    if adapter:
        raise CheckpointRefused("only a Hugging Face directory has an adapter")
    with torch.random.fork_rng([]):
        network = build(architecture, modality)
    wanted = dict(network.state_dict())
    if tensors.keys() != wanted.keys() or any(tensors[name].shape != wanted[name].shape for name in wanted):
        raise CheckpointRefused("the tensors are not those of the architecture")
    if not all(one.is_floating_point() for one in tensors.values()):
        raise CheckpointRefused("a tensor holds whole numbers, and no network here has such weights")
    if not all(one.isfinite().all() for one in tensors.values()):
        raise CheckpointRefused("a tensor holds numbers that are not finite")
    network.load_state_dict({name: one.to(wanted[name].dtype) for name, one in tensors.items()})
    return network.eval()


def fresh_like(architecture: Architecture, modality: Modality, network: nn.Module) -> Callable[[], nn.Module]:
    """Return what draws a network afresh under torch's seed; what is frozen in it, as under low-rank factors, stays as it is."""
    named = network.named_parameters(remove_duplicate=False)
    frozen = {name for name, one in named if not one.requires_grad}

    def fresh() -> nn.Module:
        made = copy.deepcopy(network)
        drawn = build(architecture, modality).state_dict()
        made.load_state_dict({name: one for name, one in drawn.items() if name not in frozen}, strict=False)
        return made

    return fresh


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
