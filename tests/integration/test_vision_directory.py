"""Images on a vision transformer from a directory: adopted, learned, asked about, forgotten, replayed, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.schema import ImageSchema
from core.domain.errors import Impossible, PathNotAllowed
from core.domain.model import BackboneRecipe, Recipe
from core.use_cases.doors import Doors
from core.use_cases.export_model import export_model
from core.use_cases.register_dataset import register_dataset
from core.use_cases.replay_version import replay_version
from tests.integration import world
from tests.integration.callers import client, problem
from tests.integration.test_export import as_readers_do, needs_peft, served_logits
from tests.integration.test_predictor import predicting, wait_for
from tests.integration.test_texts import allowed, limitations
from tests.unit.modelling.tiny_encoder import write_encoder
from tests.unit.modelling.tiny_vision_encoder import write_vision_encoder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_vision_encoder(tmp_path / "encoders" / "tiny")


@pytest.fixture
def seeing(doors: Doors, directory: Path) -> Doors:
    return allowed(doors, directory)


def recipe_of(directory: Path, **backbone: Any) -> Recipe:
    return replace(world.make_recipe(), backbone=BackboneRecipe(directory=str(directory), epochs=3, **backbone))


def add_images(doors: Doors, *, public: bool = True, **rows: Any) -> None:
    """Register the world's images; without the public ones there is nothing that a backbone could be trained on."""
    columns = world.columns(**rows)
    schema = world.SCHEMA
    if not public:
        private = ~columns.pop("public")
        columns = {name: column[private] for name, column in columns.items()}
        schema = replace(schema, public_column=None)
    register_dataset(
        "pictures", schema, {"file": world.packed(columns)}, caller=world.ADMIN, once=world.NOTHING, doors=doors
    )


@pytest.mark.parametrize("public", [True, False], ids=["public rows", "no public row"])
def test_a_repaired_model_on_an_adopted_directory_is_bit_for_bit_a_fresh_one(
    seeing: Doors, elsewhere: Doors, directory: Path, *, public: bool
) -> None:
    add_images(seeing, public=public)
    model = world.add_model(seeing, recipe=recipe_of(directory))
    world.drain(seeing)
    first = world.serving(seeing, model)
    described = world.model_of(seeing, model)
    assert described["backbone"] == {"source": "directory", "records": world.PUBLIC if public else 0}
    assert (described["recipe"]["backbone"]["layers"], described["recipe"]["backbone"]["width"]) == (4, 16)
    receipt = world.ask(seeing, 5)
    world.drain(seeing)
    repaired = world.serving(seeing, model)
    replayed = replay_version(seeing, model, sample=3)
    assert (replayed.holds, replayed.bit_for_bit) == (True, True)

    moved = write_vision_encoder(directory.parent / "moved")  # where it lies is no part of what it is
    other = allowed(elsewhere, moved)
    add_images(other, public=public, without=(5,))
    fresh_model = world.add_model(other, recipe=recipe_of(moved))
    world.drain(other)
    fresh = world.serving(other, fresh_model)

    assert repaired["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert repaired["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
    assert "backbone_learned_elsewhere" in limitations(seeing, receipt["id"])


def test_nodes_put_factors_on_the_upper_layer_groups_alone(seeing: Doors, directory: Path) -> None:
    from core.modelling.tensors import from_bytes
    from core.persistence import nodes

    add_images(seeing)
    model = world.add_model(seeing, recipe=recipe_of(directory))
    world.drain(seeing)
    with seeing.database.transaction() as session:
        live = nodes.live_nodes(session, model)
    groups = {}
    for row in live:
        tensors = from_bytes(seeing.get_sealed(row.data_key_id, row.object_digest))
        groups[len(row.slices)] = {name.split(".")[1] for name in tensors if name.startswith("layer.")}
    assert groups == {1: {"3"}, 2: {"2"}, 3: {"1"}}


@needs_peft
def test_plain_peft_answers_what_the_predictor_answers(seeing: Doors, directory: Path, tmp_path: Path) -> None:
    add_images(seeing)
    model = world.add_model(seeing, recipe=recipe_of(directory))
    world.drain(seeing)
    export_model(seeing, model, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "backbone" / "preprocessor_config.json").read_text())
    assert (said["size"], said["resample"]) == ({"height": 8, "width": 8}, 2)
    ours, theirs = served_logits(seeing, model), as_readers_do(tmp_path / "out", tmp_path)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.fixture
def served(seeing: Doors, directory: Path) -> Iterator[Any]:
    add_images(seeing)
    world.add_model(seeing, recipe=recipe_of(directory))
    world.drain(seeing)
    with predicting(seeing) as caller:
        question = {"model": "classifier", "inputs": [world.image(7).tolist()]}
        wait_for(lambda: caller.post("/v1/predict", json=question).status_code == 200)
        yield caller


def test_a_predictor_answers_images_of_the_contracts_own_size(served: Any) -> None:
    images = [world.image(seed).tolist() for seed in (7, 8)]
    answer = served.post("/v1/predict", json={"model": "classifier", "inputs": images}).json()
    assert {one["label"] for one in answer["predictions"]} <= set(world.SCHEMA.labels)
    large = np.zeros((8, 8)).tolist()
    problem(served.post("/v1/predict", json={"model": "classifier", "inputs": [large]}), 400, "bad_input")


def test_a_model_on_a_directory_is_registered_over_http(seeing: Doors, directory: Path) -> None:
    add_images(seeing)
    shape = {"shards": 2, "slices": 3, "backbone": {"directory": str(directory)}}
    with client(seeing) as caller:
        made = caller.post("/v1/models", json={"name": "classifier", "dataset": "pictures", "recipe": shape})
        assert made.status_code == 201, made.text
        assert made.json()["recipe"]["backbone"]["layers"] == 4
        elsewhere = {**shape, "backbone": {"directory": "/etc"}}
        refused = caller.post("/v1/models", json={"name": "other", "dataset": "pictures", "recipe": elsewhere})
        problem(refused, 403, "path_not_allowed")


def test_a_directory_that_will_not_do_is_refused_when_the_model_is_registered(seeing: Doors, directory: Path) -> None:
    add_images(seeing)
    beside = directory.parent
    refused: list[tuple[Path, type[Exception], str]] = [
        (beside, Impossible, "must hold"),
        (Path("/etc"), PathNotAllowed, "LETHE_DATA_ROOTS"),
        (write_encoder(beside / "text"), Impossible, "preprocessor_config"),
        (write_vision_encoder(beside / "other", model_type="dinov2"), Impossible, "model_type"),
        (write_vision_encoder(beside / "rough", layer_norm_eps=1e-6), Impossible, "layer_norm_eps"),
        (write_vision_encoder(beside / "cropped", said={"do_center_crop": True}), Impossible, "crops"),
        (write_vision_encoder(beside / "flat", num_hidden_layers=2), Impossible, "layers"),
    ]
    for one, error, sentence in refused:
        with pytest.raises(error, match=sentence):
            world.add_model(seeing, recipe=recipe_of(one))
    two = ImageSchema(image_shape=(4, 4, 2), labels=("a", "b"), owner_identity_type="email")
    columns = world.columns()
    columns |= {
        "images": np.stack([columns["images"]] * 2, axis=-1),
        "labels": np.array(["a"] * len(columns["labels"])),
    }
    files = {"file": world.packed({name: column[world.PUBLIC :] for name, column in columns.items()})}
    register_dataset("odd", two, files, caller=world.ADMIN, once=world.NOTHING, doors=seeing)
    with pytest.raises(Impossible, match="channels"):
        world.add_model(seeing, dataset="odd", recipe=recipe_of(directory))


def test_a_directory_that_changed_since_is_never_built_on(seeing: Doors, directory: Path) -> None:
    add_images(seeing)
    model = world.add_model(seeing, recipe=recipe_of(directory))
    write_vision_encoder(directory, said={"resample": 3})
    world.drain(seeing)
    assert world.model_of(seeing, model)["state"] in ("failed", "registered")
    assert world.model_of(seeing, model)["backbone"] is None
