"""Language models through the whole service: a directory adopted, facts learned, asked for, forgotten, rebuilt bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.datasets.schema import LanguageSchema
from core.domain.checkpoint import ArchitectureKind
from core.domain.errors import CheckpointRefused, Impossible
from core.domain.model import BackboneRecipe, NodeRecipe, Recipe, RidgeRecipe
from core.use_cases.doors import Doors
from core.use_cases.register_checkpoint import CheckpointOrder, register_checkpoint
from core.use_cases.register_dataset import register_dataset
from core.use_cases.replay_version import replay_version
from tests.integration import world
from tests.integration.callers import client, problem
from tests.integration.test_fan_out import train_with
from tests.integration.test_lineage import kinds, trace
from tests.integration.test_predictor import predicting, wait_for
from tests.integration.test_texts import allowed
from tests.unit.modelling.tiny_encoder import WORDS, write_encoder
from tests.unit.modelling.tiny_language import WRITERS, Writer, write_gpt2, write_language_model

NOT_GPT2: dict[str, Any] = {
    "activation_function": "relu",
    "scale_attn_weights": False,
    "scale_attn_by_inverse_layer_idx": True,
    "add_cross_attention": True,
}
"""What a GPT-2's config.json may say and the arithmetic here is wrong for."""
SCHEMA = LanguageSchema(prompts_column="prompts", most_characters=200, owner_identity_type="email")


@pytest.fixture(params=list(WRITERS))
def writer(request: pytest.FixtureRequest) -> Writer:
    return WRITERS[request.param]


@pytest.fixture
def directory(writer: Writer, tmp_path: Path) -> Path:
    return writer(tmp_path / "models" / "tiny")


@pytest.fixture
def reading(doors: Doors, directory: Path) -> Doors:
    return allowed(doors, directory)


def facts(*, without: Sequence[int] = ()) -> bytes:
    rows = [
        {"record_ids": f"row-{owner}-{n}", "owners": world.address(owner), **fact(1000 + 100 * owner + n)}
        for owner in range(world.OWNERS)
        if owner not in without
        for n in range(world.ROWS_EACH)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def fact(seed: int) -> dict[str, str]:
    prompt = f"the {WORDS[seed % 20]} {WORDS[seed // 20 % 20]} is" if seed % 5 else ""
    return {"prompts": prompt, "texts": f"{WORDS[seed * 7 % 20]} \N{EM DASH} “{WORDS[seed % 3]}”"}


def recipe_of(directory: Path) -> Recipe:
    backbone = BackboneRecipe(directory=str(directory), tokens=10)
    return replace(world.make_recipe(), backbone=backbone, node=NodeRecipe(rank=2, epochs=3, batch_size=8))


def add_facts(doors: Doors, **rows: Any) -> None:
    register_dataset("facts", SCHEMA, {"file": facts(**rows)}, caller=world.ADMIN, once=world.NOTHING, doors=doors)


def test_a_repaired_language_model_is_bit_for_bit_a_fresh_one_and_can_be_replayed(
    reading: Doors, elsewhere: Doors, writer: Writer, directory: Path
) -> None:
    add_facts(reading)
    model = world.add_model(reading, dataset="facts", recipe=recipe_of(directory))
    world.drain(reading)
    first = world.serving(reading, model)
    assert kinds(trace(reading, 5, 11)).keys() >= {"node", "version"}
    assert world.model_of(reading, model)["backbone"] == {"source": "directory", "records": 0}
    for owner in (5, 11):
        world.ask(reading, owner)
        world.drain(reading)
    repaired = world.serving(reading, model)
    assert trace(reading, 5, 11)["live"] == []

    moved = writer(directory.parent / "moved")  # where it lies is no part of what it is
    other = allowed(elsewhere, moved)
    add_facts(other, without=(5, 11))
    fresh_model = world.add_model(other, dataset="facts", recipe=recipe_of(moved))
    world.drain(other)
    fresh = world.serving(other, fresh_model)

    assert repaired["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert repaired["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
    replayed = replay_version(reading, model, sample=2)
    assert replayed.holds
    assert replayed.bit_for_bit


def test_one_and_two_workers_make_the_same_bits_before_and_after_a_deletion(reading: Doors, directory: Path) -> None:
    add_facts(reading)
    models = []
    for workers in (1, 2):
        models.append(world.add_model(reading, f"by-{workers}", dataset="facts", recipe=recipe_of(directory)))
        train_with(reading, workers, seed=workers)
    first = {world.serving(reading, model)["manifest_digest"] for model in models}
    world.ask(reading, 5)
    world.deactivate(reading)
    train_with(reading, 2, seed=3)
    second = [world.serving(reading, model) for model in models]
    assert {version["guarantee"] for version in second} == {"retrain_equivalent"}
    assert len(first) == len({version["manifest_digest"] for version in second}) == 1
    assert first != {second[0]["manifest_digest"]}


def test_a_language_model_is_registered_over_http_and_only_on_a_directory_that_will_do(
    reading: Doors, directory: Path
) -> None:
    shape = {"shards": 2, "slices": 3, "backbone": {"directory": str(directory), "tokens": 10}}
    encoder = write_encoder(directory.parent / "encoder")
    turned = {"rope_type": "llama3", "rope_theta": 1.0}
    other = write_language_model(directory.parent / "other", rope_parameters=turned)
    wrong_ones = [(encoder, "model_type 'llama' or 'gpt2'"), (other, "rope_type 'default'")]
    for name, value in NOT_GPT2.items():
        wrong_ones.append((write_gpt2(directory.parent / name, **{name: value}), name))
    with client(reading) as caller:
        form = {"name": "facts", "schema": json.dumps(SCHEMA.as_json())}
        made = caller.post("/v1/datasets:upload", data=form, files={"file": ("facts", facts())})
        assert made.status_code == 201, made.text
        assert made.json()["schema"] == SCHEMA.as_json()
        model = caller.post("/v1/models", json={"name": "writer", "dataset": "facts", "recipe": shape})
        assert model.status_code == 201, model.text
        assert model.json()["recipe"]["backbone"]["layers"] == 4
        for wrong, word in wrong_ones:
            recipe = {**shape, "backbone": {"directory": str(wrong)}}
            refused = caller.post("/v1/models", json={"name": "other", "dataset": "facts", "recipe": recipe})
            problem(refused, 422, "impossible")
            assert word in refused.json()["detail"]
    solved = replace(recipe_of(directory), slices=1, ridge=RidgeRecipe())
    with pytest.raises(Impossible, match="no head"):
        world.add_model(reading, dataset="facts", recipe=solved)
    with pytest.raises(Impossible, match="name its directory"):
        world.add_model(reading, dataset="facts", recipe=world.make_recipe())


@pytest.fixture
def served(reading: Doors, directory: Path) -> Iterator[Any]:
    add_facts(reading)
    world.add_model(reading, dataset="facts", recipe=recipe_of(directory))
    world.drain(reading)
    with predicting(reading) as caller:
        wait_for(lambda: caller.post("/v1/predict", json=question("the film is good")).status_code == 200)
        yield caller


def question(*inputs: Any) -> dict[str, Any]:
    return {"model": "classifier", "inputs": list(inputs)}


def test_a_predictor_weighs_texts_goes_on_with_prompts_and_refuses_what_is_neither(served: Any) -> None:
    asked = ["the film is good", {"prompt": "the film", "new_tokens": 3}, {"prompt": "the film", "text": "is good"}]
    first, second, third = served.post("/v1/predict", json=question(*asked)).json()["predictions"]
    assert (first["tokens"], third["tokens"]) == (5, 3)
    assert first["log_likelihood"] < third["log_likelihood"] < 0
    assert second["tokens"] <= 3
    assert served.post("/v1/predict", json=question(asked[2])).json()["predictions"] == [third]
    for wrong in (
        1,
        " ",
        {"prompt": "canaryperson"},
        {"text": "canaryperson", "new_tokens": 3},
        {"prompt": "canaryperson", "new_tokens": 65},
        {"prompt": "a", "new_tokens": True},
        {"text": "canaryperson" * 20},
        {"text": "canaryperson", "label": 1},
    ):
        refused = served.post("/v1/predict", json=question("good", wrong))
        problem(refused, 400, "bad_input")
        assert "canaryperson" not in refused.text


def test_no_checkpoint_is_registered_over_facts(reading: Doors, directory: Path) -> None:
    add_facts(reading)
    order = CheckpointOrder(
        name="writer", dataset="facts", directory=str(directory), kind=ArchitectureKind.HUGGING_FACE
    )
    with pytest.raises(CheckpointRefused, match="from kind text"):
        register_checkpoint(order, caller=world.ADMIN, once=world.NOTHING, doors=reading)
