"""A run's state between epochs, as one safetensors file: what it takes to go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from core.modelling.tensors import NamedTensors, from_bytes

HEADER = "lethe"


@dataclass
class State:
    """Where a run stands."""

    tensors: NamedTensors
    """`model/…`, `kept/…`, `mask/…` and `optimiser/…`."""
    facts: dict[str, Any]
    """What identifies the run, where it stands, and what it cost so far."""

    def group(self, name: str) -> NamedTensors:
        return {key.removeprefix(f"{name}/"): one for key, one in self.tensors.items() if key.startswith(f"{name}/")}


def grouped(**groups: Mapping[str, Tensor]) -> NamedTensors:
    return {f"{group}/{name}": one for group, tensors in groups.items() for name, one in tensors.items()}


def to_file(state: State) -> bytes:
    tensors = {name: state.tensors[name].detach().cpu().contiguous().clone() for name in sorted(state.tensors)}
    return save(tensors, {HEADER: json.dumps(state.facts, sort_keys=True)})


def from_file(content: bytes) -> State:
    """Read back what `to_file` wrote.

    Raises:
        ValueError: the file is another's.
    """
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(HEADER)
    if found is None:
        raise ValueError("this file holds no state of a run")
    return State(from_bytes(content), json.loads(found))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> NamedTensors:
    state = optimiser.state_dict()["state"]
    return {f"{index}/{key}": value for index, entries in state.items() for key, value in entries.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
