"""Checkpoints of somebody else's: what loads answers as in plain torch, and what is unsafe or does not fit is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.domain.errors import BadInput, UnreadableFile, UnsafeFile
from core.methods.card import Modality
from core.modelling.checkpoint_directories import SCHEMA, architecture_from, load, read_checkpoint, read_directory
from core.modelling.tensors import to_bytes

PERCEPTRON = {
    "schema": SCHEMA,
    "kind": "perceptron",
    "modality": "classifier",
    "inputs": [4],
    "hidden": [8],
    "outputs": 3,
}
CONVOLUTIONAL = {
    "schema": SCHEMA,
    "kind": "convolutional",
    "modality": "classifier",
    "inputs": [1, 8, 8],
    "channels": [4, 6],
    "hidden": [16],
    "outputs": 10,
}
LLAMA = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
}


def files(description: dict[str, Any], model: nn.Module, **tensors: torch.Tensor) -> dict[str, bytes]:
    weights = to_bytes(model.state_dict() | tensors)
    return {"architecture.json": json.dumps(description).encode(), "model.safetensors": weights}


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_plain_torch_perceptron_loads_and_answers_the_same() -> None:
    model, rows = plain(), torch.randn(5, 4)
    found = read_checkpoint(files(PERCEPTRON, model))
    assert torch.equal(found.model(rows), model(rows))
    assert found.architecture.modality is Modality.CLASSIFIER
    assert architecture_from(found.architecture.as_json()) == found.architecture


def test_a_convolutional_network_is_that_of_plain_torch() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 16),
        nn.ReLU(),
        nn.Linear(16, 10),
    )
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(read_checkpoint(files(CONVOLUTIONAL, model)).model(images), model(images))


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_directory_answers_as_hugging_face_does(tmp_path: Path, *, tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, tie_word_embeddings=tied)).eval()
    kept = {name: one for name, one in theirs.state_dict().items() if not tied or name != "lm_head.weight"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **LLAMA, "tie_word_embeddings": tied}))
    (tmp_path / "model.safetensors").write_bytes(to_bytes(kept))
    found = read_checkpoint(read_directory(tmp_path))
    tokens = torch.randint(32, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(found.model(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)


def test_loading_draws_nothing_from_the_callers_chance() -> None:
    given = files(PERCEPTRON, plain())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    read_checkpoint(given)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_a_pickle_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"0.weight": 1}))
    with pytest.raises(UnsafeFile, match="safetensors"):
        read_directory(tmp_path)
    with pytest.raises(UnsafeFile):
        read_checkpoint(files(PERCEPTRON, plain()) | {name: b""})


def test_a_pickle_is_refused_by_its_bytes(tmp_path: Path) -> None:
    torch.save(plain().state_dict(), tmp_path / "zip")
    for content in ((tmp_path / "zip").read_bytes(), pickle.dumps({})):
        with pytest.raises(UnsafeFile):
            read_checkpoint(files(PERCEPTRON, plain()) | {"model.safetensors": content})


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"outputs": 0}, "/outputs"),
        ({"outputs": True}, "/outputs"),
        ({"hidden": 8}, "/hidden"),
        ({"hidden": [8, "8"]}, "/hidden"),
        ({"modality": "causal_language_model"}, "/modality"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_a_description_is_told_every_flaw(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BadInput) as refused:
        architecture_from(PERCEPTRON | changes)
    assert pointer in {flaw.pointer for flaw in refused.value.flaws}


def test_what_does_not_describe_a_network_is_refused() -> None:
    with pytest.raises(BadInput, match="kind among"):
        architecture_from(PERCEPTRON | {"kind": "surprise"})
    with pytest.raises(BadInput, match="fit together"):
        architecture_from(CONVOLUTIONAL | {"inputs": [8, 8]}).build()
    for sizes in ({"rope_theta": "x"}, {"rms_norm_eps": 0}, {"num_key_value_heads": 3}, {"hidden_size": 20}):
        with pytest.raises(BadInput, match="fit together"):
            architecture_from(
                {"schema": SCHEMA, "kind": "llama", "modality": "causal_language_model", **LLAMA, **sizes}
            ).build()
    with pytest.raises(BadInput, match="reads llama"):
        read_checkpoint({"config.json": b'{"model_type": "gpt2"}', "model.safetensors": b""})
    with pytest.raises(UnreadableFile):
        read_checkpoint({"architecture.json": b"[]", "model.safetensors": b""})
    with pytest.raises(UnreadableFile):
        read_checkpoint({"model.safetensors": b""})
    with pytest.raises(UnreadableFile):
        read_checkpoint({"architecture.json": b"{}"})
    with pytest.raises(UnreadableFile):
        read_directory(Path("nowhere"))


def test_tensors_must_be_those_of_the_architecture() -> None:
    known = architecture_from(PERCEPTRON)
    tensors = dict(plain().state_dict())
    load(known, tensors)
    wrong = {
        "unknown": tensors | {"9.weight": torch.zeros(1)},
        "missing": {name: one for name, one in tensors.items() if name != "0.bias"},
        r"not torch.float32 \(8, 4\)": tensors | {"0.weight": torch.zeros(4, 8)},
        "torch.int64": tensors | {"0.weight": torch.zeros(8, 4, dtype=torch.int64)},
        "not finite": tensors | {"0.bias": torch.full((8,), torch.nan)},
    }
    for sentence, given in wrong.items():
        with pytest.raises(BadInput, match=sentence):
            load(known, given)
