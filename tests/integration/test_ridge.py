"""A ridge model through the whole service: one record leaves, all others stay, and the promise is E2 at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.audit.verify import verify_certificate
from core.domain.errors import Impossible, TooFewOwners
from core.domain.manifest import Manifest
from core.domain.model import BackboneRecipe, Recipe, RidgeRecipe
from core.domain.references import owner_reference
from core.lattice.placement import place
from core.lattice.planner.target import Target
from core.persistence import audit, nodes
from core.use_cases.accept_deletion import accept_deletion
from core.use_cases.doors import Doors
from core.use_cases.export_model import export_model
from core.use_cases.preview_deletion import preview_deletion
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.register_model import ModelOrder, register_model
from core.use_cases.replay_version import replay_version
from core.use_cases.resolve_subjects import DeletionOrder, Identity, RecordSubject
from tests.integration import table_world, world
from tests.integration.callers import client, problem
from tests.integration.test_growth import BOTH, NEW, advance, at_once, consistent, grow
from tests.integration.test_predictor import predicting, wait_for
from tests.integration.world import ADMIN, NOTHING, add_dataset, add_model, ask, ask_records, deactivate, drain, serving


def make_recipe(shards: int = 3, **ridge: float) -> Recipe:
    backbone = BackboneRecipe(width=8, layers=3, heads=2, patch=2, epochs=1, batch_size=8)
    return Recipe(shards=shards, slices=1, backbone=backbone, ridge=RidgeRecipe(**ridge))


def built(doors: Doors, **order: Any) -> str:
    return world.built(doors, **{"recipe": make_recipe()} | order)


def rows_of(doors: Doors, model: str) -> list[Any]:
    with doors.database.transaction() as session:
        return list(session.execute(select(nodes.nodes).where(nodes.nodes.c.model_id == model)))


def test_a_deletion_is_retrain_equivalent_at_once_and_loses_no_shard(doors: Doors, elsewhere: Doors) -> None:
    model = built(doors)
    before = serving(doors, model)
    ask(doors, 5)
    deactivate(doors)  # and no training
    after = serving(doors, model)
    assert after["number"] == before["number"] + 1
    assert after["guarantee"] == "retrain_equivalent"
    assert all(Manifest.from_json(after["manifest"]["content"]).served)

    add_dataset(elsewhere, without=(5,))
    fresh = add_model(elsewhere, recipe=make_recipe())
    drain(elsewhere)
    assert after["manifest_digest"] == serving(elsewhere, fresh)["manifest_digest"] != before["manifest_digest"]
    drain(doors)
    assert serving(doors, model)["number"] == after["number"], "there is nothing left to train"


def test_two_histories_with_one_retained_set_end_in_one_content_digest(doors: Doors, elsewhere: Doors) -> None:
    model = built(doors)
    ask(doors, 9)
    drain(doors)
    ask_records(doors, "row-11-0")
    ask(doors, 5)
    drain(doors)
    ask_records(doors, "row-11-1")
    drain(doors)
    add_dataset(elsewhere, without=(5, 9, 11))
    fresh = add_model(elsewhere, recipe=make_recipe())
    drain(elsewhere)
    assert serving(doors, model)["manifest_digest"] == serving(elsewhere, fresh)["manifest_digest"]


def test_a_model_that_grew_forgets_at_once_before_and_after_it_is_read_anew(doors: Doors, elsewhere: Doors) -> None:
    model = built(doors)
    grow(doors)
    advance(doors, model)
    ask(doors, BOTH)
    deactivate(doors)  # the shard holds who was there before, and is not canonical yet
    struck = serving(doors, model)
    assert all(Manifest.from_json(struck["manifest"]["content"]).served), "no shard was lost"
    assert struck["guarantee"] == "influence_free"
    drain(doors)
    ask(doors, NEW)
    deactivate(doors)
    grown = serving(doors, model)
    assert grown["guarantee"] == "retrain_equivalent"
    assert grown["manifest_digest"] == at_once(elsewhere, without=(BOTH, NEW), recipe=make_recipe())["manifest_digest"]
    drain(doors)
    consistent(doors)


@pytest.mark.parametrize("target", table_world.TARGETS)
def test_tables_too_and_numbers_too(doors: Doors, elsewhere: Doors, target: str) -> None:
    table_world.add_dataset(doors, target)
    model = add_model(doors, dataset="patients", recipe=make_recipe())
    drain(doors)
    order = DeletionOrder(records=(RecordSubject("patients", ("row-11-0", "row-11-1")),))
    accept_deletion(order, caller=ADMIN, once=NOTHING, doors=doors)
    deactivate(doors)
    table_world.add_dataset(elsewhere, target, without=(11,))
    fresh = add_model(elsewhere, dataset="patients", recipe=make_recipe())
    drain(elsewhere)
    assert serving(doors, model)["manifest_digest"] == serving(elsewhere, fresh)["manifest_digest"]
    with predicting(doors) as caller:
        said = caller.post("/v1/predict", json={"model": "classifier", "inputs": [table_world.QUESTION]})
        assert said.status_code == 200


def test_the_certificates_verify_and_show_each_record_absent(doors: Doors) -> None:
    built(doors)
    receipt = ask(doors, 5)
    drain(doors)
    done = world.request_of(doors, receipt["id"])
    assert (done["state"], done["result"]) == ("completed", "unlearned")
    assert [one["guarantee"] for one in done["certificates"]] == ["influence_free", "retrain_equivalent"]
    with doors.database.transaction() as session:
        log = list(audit.bodies(session))
    for one in done["certificates"]:
        envelope = read_certificate(one["id"], caller=ADMIN, doors=doors)
        proof = read_proof(one["id"], caller=ADMIN, doors=doors)
        verdict = verify_certificate(envelope, proof, verification_keys(doors).split(), log)
        assert verdict.failures == []
        assert "learned it without the record" in " ".join(verdict.proved)


def test_the_struck_nodes_key_and_object_are_gone(doors: Doors) -> None:
    model = built(doors)
    old = {row.key: row for row in rows_of(doors, model)}
    ask(doors, 5)
    drain(doors)
    (dead,) = [row for row in rows_of(doors, model) if row.state == "dead"]
    assert not doors.keys.exists(old[dead.key].data_key_id)
    assert not doors.store.exists(old[dead.key].object_digest)
    with doors.database.transaction() as session:
        assert list(session.execute(select(nodes.drafts))) == []


def test_replay_reads_every_record_again_and_finds_the_same_bits(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    replay = replay_version(doors, model)
    assert replay.holds
    assert replay.bit_for_bit
    assert len(replay.replayed) == 3


def test_a_node_that_cannot_be_read_dies_and_is_read_anew(doors: Doors) -> None:
    model = built(doors)
    expected = rows_of(doors, model)
    (struck,) = [row for row in expected if row.shard == _shard_of(doors, 5)]
    doors.store.delete(struck.object_digest)
    ask(doors, 5)
    deactivate(doors)
    after = serving(doors, model)
    assert after["guarantee"] == "influence_free"
    assert Manifest.from_json(after["manifest"]["content"]).served[struck.shard] == ()
    drain(doors)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"


def _shard_of(doors: Doors, owner: int) -> int:
    reference = owner_reference(doors.tenant_key(ADMIN.tenant_id), "email", world.address(owner))
    return place(world.PLACEMENT_KEY, reference, shards=3, slices=1).shard


def test_the_predictor_answers_as_if_the_owner_had_never_been_there(doors: Doors) -> None:
    built(doors)
    question = {"model": "classifier", "inputs": [world.image(seed).tolist() for seed in range(20)]}
    with predicting(doors) as caller:
        before = caller.post("/v1/predict", json=question).json()
        ask(doors, *range(6))
        drain(doors)
        wait_for(lambda: caller.post("/v1/predict", json=question).json()["manifest"]["number"] == 2)
        after = caller.post("/v1/predict", json=question).json()
        add_dataset(doors, "fewer", without=tuple(range(6)))
        add_model(doors, "other", "fewer", recipe=make_recipe(shards=1))
        drain(doors)
        other = question | {"model": "other"}
        wait_for(lambda: caller.post("/v1/predict", json=other).status_code == 200)
        fresh = caller.post("/v1/predict", json=other).json()
    assert not after["degraded"]
    # One shard or three, one head.
    assert after["predictions"] == fresh["predictions"] != before["predictions"]


def test_when_everybody_is_gone_the_public_head_answers(doors: Doors) -> None:
    model = built(doors)
    ask(doors, *range(world.OWNERS))
    drain(doors)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"
    with predicting(doors) as caller:
        assert caller.post("/v1/predict", json={"model": "classifier", "inputs": [world.image(1).tolist()]}).json()[
            "degraded"
        ]


def test_killed_between_sealing_and_committing_it_leaves_no_key_behind(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(doors)
    before = set(doors.keys.list_ids("nod_"))
    ask(doors, 5)

    class Killed(Exception):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("core.use_cases.deactivate_slices.publish_version", killed)
        with pytest.raises(Killed):
            deactivate(doors)
    stray = set(doors.keys.list_ids("nod_")) - before
    assert len(stray) == 1
    with doors.database.transaction() as session:
        assert {row.data_key_id for row in session.execute(select(nodes.drafts))} == stray
    assert {row.state for row in rows_of(doors, model)} == {"live"}


def test_recipes_that_do_not_hold_together_are_refused(doors: Doors) -> None:
    add_dataset(doors)
    order = {"name": "ridged", "dataset": "pictures"}
    with client(doors) as caller:
        for recipe in ({"slices": 3, "ridge": {}}, {"slices": 1, "ridge": {"penalty": 0}}):
            problem(caller.post("/v1/models", json=order | {"recipe": {"shards": 2} | recipe}), 400, "bad_input")
        recipe = {"shards": 2, "slices": 1, "ridge": {"penalty": 2.0}}
        made = caller.post("/v1/models", json=order | {"recipe": recipe}).json()
        plain = caller.post(
            "/v1/models", json={"name": "plain", "dataset": "pictures", "recipe": {"shards": 2, "slices": 3}}
        )
    assert made["recipe"]["ridge"] == {"penalty": 2.0, "sharpness": 8.0}
    assert "ridge" not in plain.json()["recipe"]
    with pytest.raises(TooFewOwners):
        add_model(doors, recipe=make_recipe(shards=100))


def test_the_preview_says_that_no_shard_is_lost_and_nothing_is_to_be_trained(doors: Doors) -> None:
    model = built(doors, repair=False)
    order = DeletionOrder(identities=(Identity("email", world.address(5)),))
    (said,) = preview_deletion(order, caller=ADMIN, doors=doors)["models"]
    assert (said["depths_left"], said["nodes_left"], said["nodes_switched_off"]) == ([1, 1, 1], 3, 1)
    assert said["repair_cost"] == {"slice_epochs": 0, "record_epochs": 0}
    ask(doors, 5)
    drain(doors)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent", "also where repair is off"


def test_no_lattice_is_warned_of_where_there_is_none(doors: Doors) -> None:
    add_dataset(doors)
    target = Target(deletions=1000, active_share=0.9)
    order = ModelOrder(name="ridged", dataset="pictures", recipe=make_recipe(), repair=False, target=target)
    assert register_model(order, caller=ADMIN, once=NOTHING, doors=doors).body["warnings"] == []


def test_a_ridge_model_is_not_exported(doors: Doors, tmp_path: Path) -> None:
    model = built(doors)
    with pytest.raises(Impossible, match="ridge"):
        export_model(doors, model, tmp_path / "out")


def test_recipes_without_one_are_written_and_named_as_ever() -> None:
    plain = Recipe(shards=2, slices=1)
    assert "ridge" not in plain.as_json()
    assert Recipe.from_json(plain.as_json()) == plain
    ridged = make_recipe(penalty=3.0)
    assert Recipe.from_json(ridged.as_json()) == ridged
    assert len({plain.digest(), ridged.digest(), make_recipe().digest()}) == 3
