"""Open a checkpoint's directory on its own, where there is no service and no data set that says what its rows are. Loads torch.

    architecture.json + model.safetensors          plain weights, and a description of their network
    config.json + model.safetensors (+ adapter)    a Hugging Face directory; the rows say what it is asked

What is read and what is refused is decided where registrations are adopted, and networks are built where they are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from core.domain.architecture_file import architecture_from
from core.domain.checkpoint import Architecture, ArchitectureKind
from core.domain.errors import CheckpointRefused
from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.modelling.tensors import from_bytes
from core.use_cases.adopt_checkpoint import CONFIG, check_shapes, read_directory, read_json

DESCRIPTION = "architecture.json"


@dataclass(frozen=True)
class Directory:
    """A checkpoint in memory, and what it is."""

    architecture: Architecture
    modality: Modality
    network: nn.Module


def open_directory(directory: Path, inputs: tuple[int, ...], modality: Modality) -> Directory:
    """Read a checkpoint from its directory.

    Args:
        directory: holds `model.safetensors` and one of the two descriptions.
        inputs: the shape of a row that a Hugging Face network is asked with.
        modality: what a Hugging Face network is asked for; a description of plain weights says it itself.

    Raises:
        UnsafeFile: the weights are pickled.
        CheckpointRefused, TooLarge: a file is missing, or is not what its name promises.
        BadInput: the description means no network that is known here; every flaw has its pointer.
    """
    if not directory.is_dir():
        raise CheckpointRefused("that is no directory")
    if (directory / DESCRIPTION).exists():
        architecture, modality = architecture_from(read_json(directory / DESCRIPTION))
        adopted = read_directory(directory, architecture.kind)
        check_shapes(architecture, adopted.shapes)
    elif (directory / CONFIG).exists():
        adopted = read_directory(directory, ArchitectureKind.HUGGING_FACE)
        architecture = Architecture(
            kind=ArchitectureKind.HUGGING_FACE,
            inputs=inputs,
            outputs=_outputs(adopted.config, modality),
            config=adopted.config,
            adapter=adopted.adapter,
        )
    else:
        raise CheckpointRefused(f"the directory holds no {DESCRIPTION}, and no {CONFIG} of Hugging Face's")
    factors = None if adopted.adapter_weights is None else from_bytes(adopted.adapter_weights)
    return Directory(
        architecture, modality, networks.load(architecture, modality, from_bytes(adopted.weights), factors)
    )


def _outputs(config: Mapping[str, Any], modality: Modality) -> int:
    """Return how many labels a config has, as the library counts them; a language model's words are its own affair."""
    if modality is not Modality.CLASSIFIER:
        return 1
    return len(config.get("id2label") or ()) or int(config.get("num_labels", 2))
