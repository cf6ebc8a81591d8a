"""Every kind of network that the API takes: registered over HTTP, changed by an approximate method, judged, and certified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.datasets.image_schema import ImageSchema
from core.datasets.schema import TextSchema
from core.use_cases.doors import Doors
from core.use_cases.register_dataset import register_dataset
from tests.integration import checkpoint_world, hugging_directories, world
from tests.integration.callers import client, problem
from tests.integration.test_checkpoint_kinds import allowed
from tests.integration.test_checkpoints import attempts, forget, verified

__all__ = ["allowed"]


def add(doors: Doors, schema: Any, visits: bytes, unseen: bytes) -> None:
    for name, content in (("visits", visits), ("unseen", unseen)):
        register_dataset(name, schema, {"file": content}, caller=world.ADMIN, once=world.NOTHING, doors=doors)


def add_texts(doors: Doors) -> None:
    visits, unseen = (hugging_directories.random_words(seed, 40) for seed in (1, 2))
    schema = TextSchema(labels=("note", "other"), owner_identity_type="email")
    table_of = hugging_directories.table_of
    add(doors, schema, table_of(visits, "person"), table_of(unseen, "stranger"))


def add_pictures(doors: Doors) -> None:
    schema = ImageSchema(image_shape=(4, 4), labels=("a", "b", "c"), owner_identity_type="email")
    add(doors, schema, pictures("person", 0), pictures("stranger", 1000))


def pictures(owners: str, first: int) -> bytes:
    rows = range(40)
    return world.packed(
        {
            "images": np.stack([world.image(first + row) for row in rows]),
            "labels": np.array(["abc"[(first + row) % 3] for row in rows]),
            "owners": np.array([f"{owners}-{row // 2}@example.org" for row in rows]),
            "record_ids": np.array([f"{owners}-{row}" for row in rows]),
        }
    )


def plain(*layers: nn.Module) -> Callable[[Path], Path]:
    return lambda directory: checkpoint_world.write(directory, nn.Sequential(*layers))


def library(config: dict[str, Any], **said: Any) -> Callable[[Path], Path]:
    return lambda directory: hugging_directories.write_directory(directory, config, **said)


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint: its rows, its directory, what is said of it, and a method for it."""

    rows: Callable[[Doors], None]
    write: Callable[[Path], Path]
    architecture: dict[str, Any]
    method: str
    outputs: int
    said: dict[str, Any] = field(default_factory=dict)


TEXTS = {"kind": "hugging_face", "tokens": hugging_directories.TOKENS}
CAUSAL = {"modality": "causal_language_model"}
PERCEPTRON = (nn.Linear(checkpoint_world.FEATURES, 8), nn.ReLU())
KINDS = {
    "vision transformer": Kind(
        add_pictures, library(hugging_directories.VIT), {"kind": "hugging_face"}, "random_label", 3
    ),
    "text classifier": Kind(add_texts, library(hugging_directories.BERT), TEXTS, "gradient_difference", 2),
    "convolutional": Kind(
        add_pictures,
        plain(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        ),
        {"kind": "convolutional", "channels": [4], "hidden": [8]},
        "scrub",
        3,
    ),
    "perceptron": Kind(
        checkpoint_world.add_datasets,
        plain(*PERCEPTRON, nn.Linear(8, 5)),
        {"kind": "perceptron", "hidden": [8]},
        "salun",
        5,
    ),
    "regressor": Kind(
        lambda doors: checkpoint_world.add_datasets(doors, "number"),
        plain(*PERCEPTRON, nn.Linear(8, 1)),
        {"kind": "perceptron", "hidden": [8]},
        "gaussian_amnesiac",
        1,
    ),
    "causal language model": Kind(
        add_texts, library(hugging_directories.LLAMA), TEXTS, "negative_preference", 2, CAUSAL
    ),
    "low-rank factors": Kind(
        add_texts, library(hugging_directories.LLAMA, adapter=True), TEXTS, "negative_preference", 2, CAUSAL
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, from inside peft
@pytest.mark.parametrize("name", KINDS)
def test_a_network_of_every_kind_is_registered_and_made_to_forget_over_http(
    allowed: Doors, tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    kind = KINDS[name]
    kind.rows(allowed)
    body = {
        "name": "checkpoint",
        "mode": "approximate",
        "dataset": "visits",
        "evaluation": "unseen",
        "directory": str(kind.write(tmp_path / "model")),
        "architecture": kind.architecture,
        "training": {"epochs": 2, "learning_rate": 0.01, "batch_size": 16},
        "policy": {
            "unlearning": {
                "try_unqualified": True,
                "methods": [{"method": kind.method, "settings": {"epochs": 1, "batch_size": 16}}],
            }
        },
    }
    with client(allowed) as caller:
        made = caller.post("/v1/models", json=body | kind.said)
        assert made.status_code == 201, made.text
        assert made.json()["recipe"]["architecture"]["outputs"] == kind.outputs
        world.drain(allowed)
        assert caller.get("/v1/models/checkpoint").json()["state"] == "live", caller.get("/v1/jobs").json()

        done = forget(caller, allowed, 3)
        first, last = attempts(caller, done)
        assert (first["method"], last["method"]) == (kind.method, "retrain")
        assert (first["failure"], first["accepted"]) == (None, False), first
        assert first["integrity"] == last["integrity"] == [], "what is frozen keeps its bits, and the rest moved"
        assert first["result"] != last["result"]
        assert (done["state"], last["accepted"]) == ("completed", True), last
        assert caller.get("/v1/models/checkpoint").json()["serving"]["guarantee"] == "retrained"
        [certificate] = done["certificates"]
        assert verified(caller, certificate["id"]).failures == []


@pytest.mark.parametrize("wrong", [{"id2label": {"0": "a", "1": "b"}}, {"hidden_size": 8}], ids=["labels", "width"])
def test_a_directory_that_is_not_its_config_s_never_goes_live(
    allowed: Doors, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    """The worker finds out, as the front door loads no torch; the model says so, and nothing is served."""
    add_pictures(allowed)
    other = hugging_directories.library_model(hugging_directories.VIT | wrong)
    directory = hugging_directories.write_directory(tmp_path / "model", hugging_directories.VIT, model=other)
    said = {"mode": "approximate", "dataset": "visits", "directory": str(directory)}
    with client(allowed) as caller:
        body = {"name": "checkpoint", "architecture": {"kind": "hugging_face"}} | said
        assert caller.post("/v1/models", json=body).status_code == 201
        world.drain(allowed)
        found = caller.get("/v1/models/checkpoint").json()
        assert (found["state"], found["serving"]) == ("failed", None)
        [job] = caller.get("/v1/jobs").json()["data"]
        assert (job["state"], job["error_code"]) == ("failed", "checkpoint_refused")
        (directory / "config.json").unlink()
        again = caller.post("/v1/models", json=body | {"name": "another"})
        assert "config.json is missing" in problem(again, 422, "checkpoint_refused")["detail"]
