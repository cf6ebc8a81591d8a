"""Where tensors lie: everything is made and kept on the CPU, and only what is computed with is moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.modelling.backbone import Backbone
from core.modelling.tensors import NamedTensors


def moved(tensors: Mapping[str, Tensor], device: torch.device) -> NamedTensors:
    """Return the tensors on a device; those that lie there are not copied."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def backbone_on(backbone: Backbone, device: torch.device) -> Backbone:
    """Return the backbone with its weights on a device. Bytes, such as a tokenizer, are read on the CPU and stay there."""
    if device.type == "cpu":
        return backbone
    floats = {name: tensor for name, tensor in backbone.tensors.items() if tensor.is_floating_point()}
    holder: Any = backbone  # every backbone is a frozen dataclass of a shape and tensors
    placed: Backbone = replace(holder, tensors={**backbone.tensors, **moved(floats, device)})
    return placed
