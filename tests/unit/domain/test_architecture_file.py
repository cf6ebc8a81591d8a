"""architecture.json: what describes a network is read, and every flaw of a description is told at once."""

from __future__ import annotations

from typing import Any

import pytest

from core.domain.architecture_file import SCHEMA, architecture_from
from core.domain.checkpoint import Architecture, ArchitectureKind
from core.domain.errors import BadInput
from core.domain.task import Modality

PERCEPTRON = {
    "schema": SCHEMA,
    "kind": "perceptron",
    "modality": "classifier",
    "inputs": [4],
    "hidden": [8],
    "outputs": 3,
}
CONVOLUTIONAL = PERCEPTRON | {"kind": "convolutional", "inputs": [1, 8, 8], "channels": [4, 6]}


def test_a_description_is_an_architecture_and_what_its_answers_are() -> None:
    assert architecture_from(PERCEPTRON | {"modality": "regressor", "outputs": 1}) == (
        Architecture(kind=ArchitectureKind.PERCEPTRON, inputs=(4,), hidden=(8,), outputs=1),
        Modality.REGRESSOR,
    )
    found, _ = architecture_from(CONVOLUTIONAL)
    assert (found.channels, found.hidden) == ((4, 6), (8,))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"outputs": 0}, "/outputs"),
        ({"outputs": True}, "/outputs"),
        ({"hidden": 8}, "/hidden"),
        ({"hidden": [8, "8"]}, "/hidden"),
        ({"modality": "causal_language_model"}, "/modality"),
        ({"surprise": 1}, "/surprise"),
        ({"channels": [4]}, "/channels"),
    ],
)
def test_a_description_is_told_every_flaw(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BadInput) as refused:
        architecture_from(PERCEPTRON | {"inputs": None} | changes)
    assert {flaw.pointer for flaw in refused.value.flaws} == {pointer, "/inputs"}


def test_what_describes_no_network_is_refused() -> None:
    wrongs: list[dict[str, Any]] = [
        {"kind": "surprise"},
        {"kind": None},
        {"kind": []},
        {"schema": "lethe.architecture/2"},
    ]
    for wrong in wrongs:
        with pytest.raises(BadInput, match="kind among perceptron, convolutional"):
            architecture_from(PERCEPTRON | wrong)
    with pytest.raises(BadInput, match="fit together"):
        architecture_from(CONVOLUTIONAL | {"inputs": [8, 8]})
