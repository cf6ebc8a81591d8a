"""Proof by replay: what is served is what training on the retained rows gives, and every way of cheating shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from cli.main import app
from cli.serve import environment
from core.domain.deletion import DeletedRecord
from core.domain.errors import Impossible, ModelNotFound, OvertakenByDeletion, VersionNotFound
from core.domain.manifest import Manifest
from core.domain.model import FamilyName
from core.lattice.placement import Place
from core.modelling.tensors import from_bytes, tensor_digest, to_bytes
from core.persistence import models, nodes, versions
from core.use_cases import replay_version as page
from core.use_cases import shard_plan
from core.use_cases.change_model import ModelChange, change_model
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.replay_backbone import ROWS_CHANGED, TOLERANCE
from core.use_cases.replay_version import Flaw, replay_version
from core.use_cases.resolve_subjects import RecordSubject
from core.use_cases.shard_members import slice_leaves
from tests.integration import table_world
from tests.integration.world import ADMIN, add_dataset, add_model, ask, built, drain, make_recipe, serving


def table(doors: Doors, model: str) -> list[Any]:
    with doors.database.transaction() as session:
        return list(session.execute(select(nodes.nodes).where(nodes.nodes.c.model_id == model)))


def flaws(doors: Doors, version: str) -> set[Flaw]:
    replay = replay_version(doors, version)
    assert not replay.holds
    return {flaw for one in replay.replayed for flaw in one.flaws} | set(replay.flaws)


def test_every_node_of_a_fresh_build_is_trained_again_bit_for_bit(doors: Doors) -> None:
    model = built(doors)
    steps: list[float] = []
    replay = replay_version(doors, model, progress=lambda share, _: steps.append(share))
    assert replay.holds
    assert replay.bit_for_bit
    assert len(replay.replayed) == replay.nodes == len(serving(doors, model)["manifest"]["content"]["nodes"])
    assert {one.largest_difference for one in replay.replayed} == {0.0}
    assert steps == sorted(steps)
    assert replay.as_json()["comparison"] == "bit_for_bit"
    assert replay.as_json()["tolerance"] is None


@pytest.mark.parametrize("target", ["label", "number"])
def test_models_of_tables_are_trained_again_too(doors: Doors, target: str) -> None:
    table_world.add_dataset(doors, target)
    model = add_model(doors, dataset="patients")
    drain(doors)
    ask(doors, 5)
    drain(doors)
    assert replay_version(doors, model).bit_for_bit
    assert replay_version(doors, model).holds


def test_a_provisional_node_is_rebuilt_from_the_root_of_its_chain(doors: Doors) -> None:
    add_dataset(doors)
    model = add_model(doors, recipe=make_recipe(FamilyName.CHAIN))
    drain(doors)
    change_model(model, ModelChange(repair=False), caller=ADMIN, doors=doors)
    ask(doors, 5)
    drain(doors)
    assert replay_version(doors, model).holds
    change_model(model, ModelChange(repair=True), caller=ADMIN, doors=doors)
    ask(doors, 9, 11)
    drain(doors)
    replay = replay_version(doors, model)
    assert replay.holds
    assert replay.bit_for_bit


def test_a_sample_is_as_large_as_was_asked_for_and_brings_its_ancestors(doors: Doors) -> None:
    model = built(doors)
    for count, expected in ((1, 1), (3, 3), (1000, 6)):
        replay = replay_version(doors, model, sample=count)
        assert replay.holds
        assert len(replay.replayed) == expected


def test_one_weight_that_was_flipped_in_the_store_is_found(doors: Doors) -> None:
    model = built(doors)
    victim = serving(doors, model)["manifest"]["content"]["nodes"][0]["key"]
    (row,) = [one for one in table(doors, model) if one.key == victim]
    tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
    tensors["head.weight"][0, 0] += 1e-6
    digest = doors.put_under(row.data_key_id, to_bytes(tensors))
    with doors.database.transaction() as session:
        session.execute(update(nodes.nodes).where(nodes.nodes.c.key == victim).values(object_digest=digest))
    assert flaws(doors, model) == {Flaw.STORE}
    doors.store.delete(digest)
    assert flaws(doors, model) == {Flaw.STORE}


def test_a_node_that_was_trained_on_a_deleted_record_is_found(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer is handed the deleted rows as well, and writes down the roots of the cleaned slice all the same."""
    model = built(doors)
    with doors.database.transaction() as session:
        everyone = frozenset(bytes(row.record) for row in models.members(session, models.get_model(session, model)))
    # Only this model forgets, so that the rows can still be opened.
    ask(doors, models=(model,), records=(RecordSubject("pictures", ("row-5-0",)),))
    with monkeypatch.context() as patch:
        honest = shard_plan.read_plan

        def dishonest(*arguments: Any) -> shard_plan.ShardPlan:
            plan = honest(*arguments)
            object.__setattr__(plan, "members", everyone)
            return plan

        patch.setattr("core.use_cases.workbench.read_plan", dishonest)
        drain(doors)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent", "it claims to be what a fresh build gives"
    assert flaws(doors, model) == {Flaw.DATA, Flaw.TENSORS}


def test_a_served_node_whose_slice_holds_a_record_that_is_tombstoned_is_found(doors: Doors) -> None:
    model = built(doors)
    node = serving(doors, model)["manifest"]["content"]["nodes"][0]
    where = Place(node["shard"], node["slices"][0])
    with doors.database.transaction() as session:
        leaves, _ = slice_leaves(session, doors, models.get_model(session, model))
        dead = DeletedRecord(leaves[where][0][:32], bytes(32), where.shard, where.slice)
        models.bury(session, tenant_id=DEFAULT_TENANT, model_id=model, request_id="dr_x", dead=[dead])
    assert flaws(doors, model) == {Flaw.SLICES}


def test_a_backbone_that_was_exchanged_is_found_before_anything_is_trained(doors: Doors) -> None:
    model = built(doors)
    with doors.database.transaction() as session:
        row = models.find_backbone(session, DEFAULT_TENANT, models.get_model(session, model).backbone_key)
        assert row is not None
        tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
        tensors["norm.bias"][0] += 1e-6
        digest = doors.put_under(row.data_key_id, to_bytes(tensors))
        session.execute(update(models.backbones).values(object_digest=digest))
    assert flaws(doors, model) == {Flaw.BACKBONE}


def test_a_backbone_that_no_public_row_gives_is_found_though_store_and_manifest_agree(doors: Doors) -> None:
    model = built(doors)
    honest = replay_version(doors, model).backbone
    assert honest is not None
    assert (honest.trained_again, honest.same, honest.largest_difference) == (True, True, 0.0)
    with doors.database.transaction() as session:
        row = models.find_backbone(session, DEFAULT_TENANT, models.get_model(session, model).backbone_key)
        assert row is not None
        tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
        tensors["norm.bias"][0] += 1e-6
        digest = doors.put_under(row.data_key_id, to_bytes(tensors))
        session.execute(update(models.backbones).values(object_digest=digest))
        version = page._find(session, model)[1]
        forged = {**version.manifest, "backbone": tensor_digest(tensors)}
        session.execute(text("SET LOCAL session_replication_role = replica"))  # its owner can silence the triggers
        session.execute(update(versions.versions).where(versions.versions.c.id == version.id).values(manifest=forged))
    assert Flaw.BACKBONE in flaws(doors, model)


def test_a_backbone_whose_public_rows_are_gone_is_compared_and_said_not_to_be_trained_again(doors: Doors) -> None:
    model = built(doors)
    with doors.database.transaction() as session:
        session.execute(update(models.backbones).values(key="of rows that are gone"))
        session.execute(update(models.models).values(backbone_key="of rows that are gone"))
    replay = replay_version(doors, model)
    assert replay.holds
    assert replay.backbone is not None
    assert (replay.backbone.trained_again, replay.backbone.why_not) == (False, ROWS_CHANGED)


def test_tensors_that_the_manifest_never_named_are_found_though_store_and_table_agree(doors: Doors) -> None:
    """Whoever may write the table and the store, and the version's row, changes all three alike."""
    model = built(doors)
    with doors.database.transaction() as session:
        version = page._find(session, model)[1]
    manifest = Manifest.from_json(version.manifest)
    entry = manifest.nodes[-1]
    machine_entry = type(entry)(**{**vars(entry), "tensor_digest": "0" * 64})
    assert machine_entry.key == entry.key
    forged = {**version.manifest, "nodes": [*version.manifest["nodes"][:-1]]}
    forged["nodes"].append({**version.manifest["nodes"][-1], "tensor_digest": "0" * 64})
    with doors.database.transaction() as session:
        session.execute(
            versions.versions.insert().values(
                tenant_id=DEFAULT_TENANT,
                id="ver_forged",
                model_id=model,
                number=99,
                guarantee="retrain_equivalent",
                manifest_digest="0" * 64,
                manifest=forged,
                provenance={},
                job_id="job_x",
            )
        )
    assert flaws(doors, "ver_forged") == {Flaw.STORE, Flaw.TENSORS}


def test_another_environment_is_named_and_never_called_bit_for_bit(doors: Doors) -> None:
    model = built(doors)
    elsewhere = {"torch": "0.0", "instruction_set": "none", "threads": 1, "processor": "other", "machine": "other"}
    with doors.database.transaction() as session:
        session.execute(update(nodes.nodes).values(environment=elsewhere))
    replay = replay_version(doors, model)
    assert replay.holds
    assert not replay.bit_for_bit
    assert {one.differs for one in replay.replayed} == {("instruction_set", "machine", "processor", "torch")}
    assert (replay.as_json()["comparison"], replay.as_json()["tolerance"]) == ("tolerance", TOLERANCE)
    with doors.database.transaction() as session:
        session.execute(update(nodes.nodes).values(environment=None))
        session.execute(update(models.backbones).values(training={"environment": elsewhere}))
    assert not replay_version(doors, model).bit_for_bit


def test_within_the_tolerance_a_changed_weight_still_shows(doors: Doors) -> None:
    model = built(doors)
    victim = serving(doors, model)["manifest"]["content"]["nodes"][0]["key"]
    (row,) = [one for one in table(doors, model) if one.key == victim]
    tensors = from_bytes(doors.get_sealed(row.data_key_id, row.object_digest))
    tensors["head.weight"] *= 1.02
    digest = doors.put_under(row.data_key_id, to_bytes(tensors))
    with doors.database.transaction() as session:
        session.execute(update(nodes.nodes).values(environment={"torch": "0.0", "threads": 1}))
        session.execute(update(nodes.nodes).where(nodes.nodes.c.key == victim).values(object_digest=digest))
    assert flaws(doors, model) == {Flaw.STORE, Flaw.TENSORS}


def test_what_was_switched_off_since_cannot_be_replayed_and_is_counted(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    replay = replay_version(doors, f"{model}/1")
    assert replay.holds
    assert replay.gone
    assert len(replay.replayed) + len(replay.gone) == replay.nodes
    ask(doors, *range(24))
    drain(doors)
    with pytest.raises(Impossible, match="switched off"):
        replay_version(doors, f"{model}/1")


def test_what_is_not_there_is_said_in_one_sentence(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(doors)
    for wrong, error in (
        ("nobody", ModelNotFound),
        ("ver_none", VersionNotFound),
        (f"{model}/99", VersionNotFound),
    ):
        with pytest.raises(error):
            replay_version(doors, wrong)
    monkeypatch.setattr(page, "TRAINER_PROTOCOL", 99)
    with pytest.raises(Impossible, match="protocol"):
        replay_version(doors, model)


def test_a_deletion_that_comes_in_between_is_said(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(doors)
    honest = shard_plan.read_plan

    def meanwhile(*arguments: Any, **named: Any) -> shard_plan.ShardPlan:
        plan = honest(*arguments, **named)
        ask(doors, *range(24))
        drain(doors)
        return plan

    monkeypatch.setattr(page, "read_plan", meanwhile)
    with pytest.raises(OvertakenByDeletion):
        replay_version(doors, model)


@pytest.fixture
def told(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in environment(doors.settings).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["replay", *arguments])


def test_the_command_says_whether_it_holds_with_its_exit_status(told: Any, doors: Doors) -> None:
    model = built(doors)
    good = told(model, "--sample", "2", "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["holds"] is True
    drawn = told("classifier", "--sample", "1")
    assert "HOLDS: 1 of 6 nodes" in drawn.stderr
    assert "bit for bit" in drawn.stdout
    missing = told("nobody")
    assert (missing.exit_code, missing.stderr.strip().count("\n")) == (1, 0)
    assert told(model, "--sample", "0").exit_code == 2
    with doors.database.transaction() as session:
        session.execute(update(models.backbones).values(object_digest="0" * 64))
    assert told(model).exit_code == 1


@pytest.mark.usefixtures("told")
def test_another_instruction_set_gives_other_bits_within_the_tolerance(doors: Doors) -> None:
    """Really elsewhere: the same processor without its vector instructions."""
    model = built(doors)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "replay", model, "--json"],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    body = json.loads(done.stdout)
    assert (done.returncode, body["holds"], body["comparison"]) == (0, True, "tolerance"), done.stdout + done.stderr
    assert {tuple(one["differs"]) for one in body["replayed"]} == {("instruction_set",)}
    assert max(one["largest_difference"] for one in body["replayed"]) < TOLERANCE / 10
