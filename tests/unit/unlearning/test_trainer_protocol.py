"""The golden digest that guards TRAINER_PROTOCOL. To write a new one: `python -m tests.unit.unlearning.test_trainer_protocol`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.domain.model import TRAINER_PROTOCOL
from core.modelling.determinism import environment, pinned
from core.modelling.tensors import tensor_digest
from tests.unit.unlearning.tiny import backbone, build_shard, make_recipe, make_slices

GOLDEN = Path(__file__).with_name("golden.json")
ADVICE = (
    "training arithmetic changed: raise TRAINER_PROTOCOL in core/domain/model.py, then write tests/unit/unlearning/"
    "golden.json anew with `python -m tests.unit.unlearning.test_trainer_protocol`"
)


def place() -> str:
    here = environment()
    return f"{here['torch']}, {here['processor']} with {here['instruction_set']}, {here['threads']} thread"


def measured() -> tuple[str, dict[str, float]]:
    nodes = build_shard(make_slices(), make_recipe())
    tensors = {
        f"{len(slices)}.{name}": tensor for slices, node in nodes.items() for name, tensor in node.tensors.items()
    } | {f"backbone.{name}": tensor for name, tensor in backbone().tensors.items()}
    norms = {name: float(tensor.double().norm()) for name, tensor in sorted(tensors.items())}
    return tensor_digest(tensors), norms


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


def test_the_golden_digest_is_this_protocols(golden: dict[str, Any]) -> None:
    assert golden["trainer_protocol"] == TRAINER_PROTOCOL, ADVICE


def test_training_arithmetic_is_that_of_the_protocol(golden: dict[str, Any]) -> None:
    digest, norms = measured()
    assert norms == pytest.approx(golden["norms"], rel=5e-3, abs=5e-3), ADVICE
    assert golden["digests"].get(place(), digest) == digest, ADVICE  # another build or machine: the norms must do


def write_golden() -> None:
    pinned(1)
    digest, norms = measured()
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    kept = known.get("digests", {}) if known.get("trainer_protocol") == TRAINER_PROTOCOL else {}
    rounded = {name: round(norm, 4) for name, norm in norms.items()}
    golden = {"trainer_protocol": TRAINER_PROTOCOL, "digests": kept | {place(): digest}, "norms": rounded}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()
