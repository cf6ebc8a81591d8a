"""A checkpoint's directory without a service: what loads answers as in its own library, and what will not do is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.domain.architecture_file import SCHEMA
from core.domain.errors import BadInput, CheckpointRefused, UnsafeFile
from core.domain.task import Modality
from core.modelling import checkpoint_networks as networks
from core.modelling.tensors import to_bytes
from core.use_cases.open_directory import Directory, open_directory

PERCEPTRON = {
    "schema": SCHEMA,
    "kind": "perceptron",
    "modality": "classifier",
    "inputs": [4],
    "hidden": [8],
    "outputs": 3,
}
CONVOLUTIONAL = PERCEPTRON | {"kind": "convolutional", "inputs": [1, 8, 8], "channels": [4, 6], "outputs": 10}
LLAMA = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def written(directory: Path, description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    name = "architecture.json" if "schema" in description else "config.json"
    (directory / name).write_text(json.dumps(description))
    (directory / "model.safetensors").write_bytes(to_bytes(tensors))
    return directory


def opened(directory: Path, modality: Modality = Modality.CLASSIFIER) -> Directory:
    return open_directory(directory, (4,), modality)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_plain_torch_perceptron_loads_and_answers_the_same(tmp_path: Path) -> None:
    model, rows = plain(), torch.randn(5, 4)
    found = opened(written(tmp_path, PERCEPTRON | {"modality": "regressor"}, model.state_dict()))
    assert torch.equal(found.network(rows), model(rows))
    assert found.modality is Modality.REGRESSOR, "a description says it itself"


def test_a_convolutional_network_is_that_of_plain_torch(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 8),
        nn.ReLU(),
        nn.Linear(8, 10),
    )
    images = torch.randn(3, 1, 8, 8)
    found = opened(written(tmp_path, CONVOLUTIONAL, model.state_dict()))
    assert torch.equal(found.network(images), model(images))


def test_halves_are_widened_and_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    model = plain().half()
    found = opened(written(tmp_path, PERCEPTRON, model.state_dict()))
    assert torch.equal(found.network.state_dict()["0.weight"], model.get_parameter("0.weight").float())
    whole = {name: one.to(torch.int64) for name, one in model.state_dict().items()}
    with pytest.raises(CheckpointRefused, match="whole numbers"):
        opened(written(tmp_path, PERCEPTRON, whole))


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_directory_answers_as_hugging_face_does(tmp_path: Path, *, tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = LLAMA | {"tie_word_embeddings": tied}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    kept = {name: one for name, one in theirs.state_dict().items() if not tied or name != "lm_head.weight"}
    found = opened(written(tmp_path, {"model_type": "llama", **config}, kept), Modality.CAUSAL_LANGUAGE_MODEL)
    tokens = torch.randint(1, 32, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(found.network(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)


def test_a_text_classifier_has_as_many_answers_as_its_config_says(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = sizes | {"intermediate_size": 8, "pad_token_id": 0, "id2label": {"0": "a", "1": "b", "2": "c"}}
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**config)).eval()
    found = opened(written(tmp_path, {"model_type": "bert", **config}, dict(theirs.state_dict())))
    with torch.no_grad():
        assert found.network(torch.tensor([[3, 4, 5, 6]])).shape == (1, 3)


def test_loading_draws_nothing_from_the_callers_chance(tmp_path: Path) -> None:
    directory = written(tmp_path, PERCEPTRON, plain().state_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    opened(directory)
    assert torch.equal(torch.rand(1), expected)


def test_what_is_drawn_afresh_keeps_what_is_frozen_and_nothing_else(tmp_path: Path) -> None:
    found = opened(written(tmp_path, PERCEPTRON, plain().state_dict()))
    found.network.get_parameter("0.weight").requires_grad_(False)
    fresh = networks.fresh_like(found.architecture, found.modality, found.network)
    torch.manual_seed(5)
    drawn = fresh().state_dict()
    torch.manual_seed(5)
    again = fresh().state_dict()
    for name, before in found.network.state_dict().items():
        assert torch.equal(drawn[name], again[name])
        assert torch.equal(drawn[name], before) is (name == "0.weight")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_a_pickle_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "architecture.json").write_text(json.dumps(PERCEPTRON))
    (tmp_path / name).write_bytes(pickle.dumps({"0.weight": 1}))
    with pytest.raises(UnsafeFile, match="safetensors"):
        opened(tmp_path)


def test_a_pickle_is_refused_by_its_bytes(tmp_path: Path) -> None:
    directory = written(tmp_path, PERCEPTRON, plain().state_dict())
    torch.save(plain().state_dict(), tmp_path / "zip")
    for content in ((tmp_path / "zip").read_bytes(), pickle.dumps({})):
        (directory / "model.safetensors").write_bytes(content)
        with pytest.raises(UnsafeFile):
            opened(directory)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefused, match="no directory"):
        opened(tmp_path / "nowhere")
    with pytest.raises(CheckpointRefused, match=r"no architecture.json, and no config.json"):
        opened(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "surprise"}')
    with pytest.raises(CheckpointRefused, match=r"holds no model.safetensors"):
        opened(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(to_bytes(plain().state_dict()))
    with pytest.raises(CheckpointRefused, match="kinds of model"):
        opened(tmp_path)
    (tmp_path / "architecture.json").write_text("[]")
    with pytest.raises(CheckpointRefused, match="no JSON object"):
        opened(tmp_path)
    (tmp_path / "architecture.json").write_text("{}")
    with pytest.raises(BadInput, match="kind among"):
        opened(tmp_path)


def test_tensors_must_be_those_of_the_architecture(tmp_path: Path) -> None:
    tensors = dict(plain().state_dict())
    wrong = {
        "does not have": tensors | {"9.weight": torch.zeros(1)},
        "a tensor 0.bias": {name: one for name, one in tensors.items() if name != "0.bias"},
        r"0.weight is \[4, 8\] in the file and \[8, 4\]": tensors | {"0.weight": torch.zeros(4, 8)},
        "not finite": tensors | {"0.bias": torch.full((8,), torch.nan)},
    }
    for sentence, given in wrong.items():
        with pytest.raises(CheckpointRefused, match=sentence):
            opened(written(tmp_path, PERCEPTRON, given))
