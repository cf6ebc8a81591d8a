"""architecture.json: how a directory of plain weights says which network they are of, where no service asks for it.

    {"schema": "lethe.architecture/1", "kind": "perceptron", "modality": "classifier", "inputs": [20], "hidden": [8], "outputs": 4}

A registration says the same in its body, and a Hugging Face directory in its config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.domain.checkpoint import MOST_LAYERS, MOST_WIDTH, Architecture, ArchitectureKind
from core.domain.errors import BadInput, Flaw
from core.domain.task import Modality

SCHEMA = "lethe.architecture/1"
LISTS = {
    ArchitectureKind.PERCEPTRON: ("inputs", "hidden"),
    ArchitectureKind.CONVOLUTIONAL: ("inputs", "channels", "hidden"),
}
"""The lists of sizes that describe each kind; all have `outputs` as well."""
MODALITIES = (Modality.CLASSIFIER, Modality.REGRESSOR)


def architecture_from(given: Mapping[str, Any]) -> tuple[Architecture, Modality]:
    """Return the architecture that a description means, and what its answers are.

    Raises:
        BadInput: with a flaw for everything that is wrong.
    """
    said = given.get("kind")
    kind = next((one for one in LISTS if one == said), None)
    if given.get("schema") != SCHEMA or kind is None:
        raise BadInput(f"a description has schema {SCHEMA} and a kind among {', '.join(LISTS)}")
    flaws = _flaws(given, LISTS[kind])
    if flaws:
        raise BadInput("; ".join(f"{flaw.pointer} {flaw.detail}" for flaw in flaws), flaws=flaws)
    inputs, channels, hidden = (tuple(given.get(name, ())) for name in ("inputs", "channels", "hidden"))
    try:
        found = Architecture(kind=kind, inputs=inputs, outputs=given["outputs"], channels=channels, hidden=hidden)
    except ValueError as wrong:
        raise BadInput(f"the sizes of this {kind} do not fit together: {wrong}") from None
    return found, Modality(given["modality"])


def _flaws(given: Mapping[str, Any], lists: tuple[str, ...]) -> list[Flaw]:
    known = {"schema", "kind", "modality", "outputs", *lists}
    flaws = [Flaw(f"/{name}", "unknown_field", "is not part of this kind") for name in sorted(given.keys() - known)]
    if given.get("modality") not in MODALITIES:
        flaws.append(Flaw("/modality", "invalid", f"must be one of {', '.join(MODALITIES)}"))
    if not _is_size(given.get("outputs")):
        flaws.append(Flaw("/outputs", "invalid", f"must be a whole number in 1..{MOST_WIDTH}"))
    flaws += [
        Flaw(f"/{name}", "invalid", f"must be a list of at most {MOST_LAYERS} whole numbers in 1..{MOST_WIDTH}")
        for name in lists
        if not isinstance(given.get(name), list)
        or len(given[name]) > MOST_LAYERS
        or not all(map(_is_size, given[name]))
    ]
    return flaws


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WIDTH
