"""Texts through the whole service: a directory adopted, posts learned, asked about, forgotten, rebuilt bit for bit."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.audit.certificate import Limitation
from core.datasets.schema import TextSchema
from core.domain.errors import Impossible, PathNotAllowed
from core.domain.model import BackboneRecipe, Recipe, RidgeRecipe
from core.settings import Settings
from core.use_cases.doors import Doors
from core.use_cases.read_certificates import read_certificate
from core.use_cases.register_dataset import register_dataset
from tests.integration import world
from tests.integration.callers import client, problem
from tests.integration.test_predictor import predicting, wait_for
from tests.unit.modelling.tiny_encoder import WORDS, write_encoder

SCHEMA = TextSchema(
    labels=("praise", "blame"), most_characters=200, owner_identity_type="email", public_column="public"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoders" / "tiny")


@pytest.fixture
def reading(doors: Doors, directory: Path) -> Doors:
    return allowed(doors, directory)


def allowed(doors: Doors, directory: Path) -> Doors:
    settings = doors.settings.model_copy(update={"data_roots": str(directory.parent)})
    return replace(doors, settings=settings)


def posts(*, without: Sequence[int] = (), public: bool = True) -> bytes:
    rows = [post(f"public-{n}", "", n, public=True) for n in range(world.PUBLIC if public else 0)]
    rows += [
        post(f"row-{owner}-{n}", world.address(owner), 1000 + 100 * owner + n, public=False)
        for owner in range(world.OWNERS)
        if owner not in without
        for n in range(world.ROWS_EACH)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def post(record: str, owner: str, seed: int, *, public: bool) -> dict[str, Any]:
    tone = WORDS[(seed * 2) % 8]
    text = f"the {WORDS[10 + seed % 2]} is {tone} \N{EM DASH} “{seed}”" + " and a play" * (seed % 9)
    label = SCHEMA.labels[WORDS.index(tone) % 2]
    return {"record_ids": record, "owners": owner, "texts": text, "labels": label, "public": public}


def recipe_of(directory: Path, **backbone: Any) -> Recipe:
    plain = world.make_recipe()
    return replace(plain, backbone=BackboneRecipe(directory=str(directory), tokens=12, epochs=3, **backbone))


def add_posts(doors: Doors, **rows: Any) -> None:
    register_dataset("posts", SCHEMA, {"file": posts(**rows)}, caller=world.ADMIN, once=world.NOTHING, doors=doors)


@pytest.mark.parametrize("ridge", [None, RidgeRecipe()], ids=["nodes", "ridge head"])
@pytest.mark.parametrize("public", [True, False], ids=["public rows", "no public row"])
def test_a_repaired_model_of_texts_is_bit_for_bit_a_fresh_one(
    reading: Doors,
    elsewhere: Doors,
    directory: Path,
    ridge: RidgeRecipe | None,
    *,
    public: bool,
) -> None:
    def recipe_in(directory: Path) -> Recipe:
        plain = recipe_of(directory)
        return plain if ridge is None else replace(plain, slices=1, ridge=ridge)

    add_posts(reading, public=public)
    model = world.add_model(reading, dataset="posts", recipe=recipe_in(directory))
    world.drain(reading)
    first = world.serving(reading, model)
    described = world.model_of(reading, model)
    assert described["backbone"] == {"source": "directory", "records": world.PUBLIC if public else 0}
    assert (described["recipe"]["backbone"]["layers"], described["recipe"]["backbone"]["width"]) == (4, 16)
    receipt = world.ask(reading, 5)
    world.drain(reading)
    world.ask(reading, 11)
    world.drain(reading)
    repaired = world.serving(reading, model)

    moved = write_encoder(directory.parent / "moved")  # where it lies is no part of what it is
    other = allowed(elsewhere, moved)
    add_posts(other, public=public, without=(5, 11))
    fresh_model = world.add_model(other, dataset="posts", recipe=recipe_in(moved))
    world.drain(other)
    fresh = world.serving(other, fresh_model)

    assert repaired["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert repaired["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
    assert Limitation.BACKBONE_LEARNED_ELSEWHERE in limitations(reading, receipt["id"])


def limitations(doors: Doors, request: str) -> list[str]:
    named = world.request_of(doors, request)["certificates"][0]["id"]
    envelope = json.loads(read_certificate(named, caller=world.ADMIN, doors=doors))
    return list(json.loads(b64decode(envelope["payload"]))["predicate"]["limitations"])


def test_posts_and_a_model_of_them_are_registered_over_http(reading: Doors, directory: Path) -> None:
    shape = {"shards": 2, "slices": 3, "backbone": {"directory": str(directory), "tokens": 12}}
    with client(reading) as caller:
        form = {"name": "posts", "schema": json.dumps(SCHEMA.as_json())}
        made = caller.post("/v1/datasets:upload", data=form, files={"file": ("posts", posts())})
        assert made.status_code == 201, made.text
        assert made.json()["schema"] == SCHEMA.as_json()
        model = caller.post("/v1/models", json={"name": "classifier", "dataset": "posts", "recipe": shape})
        assert model.status_code == 201, model.text
        assert model.json()["recipe"]["backbone"]["layers"] == 4
        elsewhere = {**shape, "backbone": {"directory": "/etc"}}
        refused = caller.post("/v1/models", json={"name": "other", "dataset": "posts", "recipe": elsewhere})
        problem(refused, 403, "path_not_allowed")


@pytest.fixture
def served(reading: Doors, directory: Path) -> Iterator[Any]:
    add_posts(reading)
    world.add_model(reading, dataset="posts", recipe=recipe_of(directory))
    world.drain(reading)
    with predicting(reading) as caller:
        wait_for(lambda: caller.post("/v1/predict", json=question("the film is good")).status_code == 200)
        yield caller


def question(*inputs: Any) -> dict[str, Any]:
    return {"model": "classifier", "inputs": list(inputs)}


def test_a_predictor_answers_texts_and_refuses_what_is_none(served: Any) -> None:
    answer = served.post("/v1/predict", json=question("the film is good", "a sad play")).json()
    assert {one["label"] for one in answer["predictions"]} <= set(SCHEMA.labels)
    alone = served.post("/v1/predict", json=question("a sad play")).json()
    assert alone["predictions"] == answer["predictions"][1:]
    for wrong in ([1], [None], [" "], ["canaryperson" * 20], [["a"]], [{"text": "a"}]):
        refused = served.post("/v1/predict", json=question("good", *wrong))
        problem(refused, 400, "bad_input")
        assert "canaryperson" not in refused.text


def test_an_encoder_that_will_not_do_is_refused_when_the_model_is_registered(reading: Doors, directory: Path) -> None:
    add_posts(reading)
    refused: list[tuple[Any, type[Exception], str]] = [
        (world.make_recipe(), Impossible, "name its directory"),
        (recipe_of(directory.parent), Impossible, "must hold"),
        (recipe_of(Path("/etc")), PathNotAllowed, "LETHE_DATA_ROOTS"),
        (recipe_of(write_encoder(directory.parent / "other", hidden_act="relu")), Impossible, "hidden_act"),
        (recipe_of(write_encoder(directory.parent / "odd", num_attention_heads=3)), Impossible, "sizes"),
        (recipe_of(write_encoder(directory.parent / "flat", num_hidden_layers=2)), Impossible, "layers"),
    ]
    for recipe, error, sentence in refused:
        with pytest.raises(error, match=sentence):
            world.add_model(reading, dataset="posts", recipe=recipe)
    world.add_dataset(reading)
    with pytest.raises(Impossible, match="preprocessor_config"):
        world.add_model(reading, recipe=recipe_of(directory))


def test_a_directory_that_changed_since_is_never_built_on(reading: Doors, directory: Path) -> None:
    add_posts(reading)
    model = world.add_model(reading, dataset="posts", recipe=recipe_of(directory))
    write_encoder(directory, seed=1)
    world.drain(reading)
    assert world.model_of(reading, model)["state"] in ("failed", "registered")
    assert world.model_of(reading, model)["backbone"] is None
    assert Settings().allowed_roots == ()
