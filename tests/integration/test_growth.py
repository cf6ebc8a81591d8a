"""A data set grows, a model follows: old nodes go on answering, canonical ones are built, and two histories meet bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text

from core.audit.verify import verify_certificate
from core.domain.deletion import RequestState
from core.domain.errors import (
    DatasetNotFound,
    DatasetVersionNotFound,
    IdempotencyKeyReused,
    Impossible,
    ModelNotFound,
    OwnerSuppressed,
    RowsRefused,
)
from core.domain.job import Lane
from core.domain.model import FamilyName
from core.persistence import jobs
from core.persistence.nodes import nodes
from core.persistence.requests import certificates
from core.unlearning.exact.training import train_node
from core.use_cases.advance_model import advance_model
from core.use_cases.answer_once import Answer, OnceKey
from core.use_cases.check_consistency import check_consistency
from core.use_cases.doors import Doors
from core.use_cases.grow_dataset import grow_dataset
from core.use_cases.read_certificates import read_certificate, read_proof, verification_keys
from core.use_cases.read_datasets import read_dataset, read_dataset_versions
from core.use_cases.read_lineage import ArtefactKind, read_lineage
from core.use_cases.record_reconsent import record_reconsent
from core.use_cases.register_dataset import register_dataset
from core.use_cases.repair_model import repair_model
from core.use_cases.replay_version import replay_version
from core.use_cases.resolve_subjects import DeletionOrder, Identity
from core.use_cases.run_computation import run_computation
from core.use_cases.trace_subject import trace_subject
from core.use_cases.workbench import Workbench
from tests.integration import world
from tests.integration.callers import client, problem
from tests.integration.world import ADMIN, NOTHING, add_dataset, add_model, address, ask, built, drain, serving

NEW, BOTH = 30, 3
"""Somebody who comes with version 2 only, and somebody who has rows in both."""
GROWTH = {NEW: (0, 1), 31: (0,), BOTH: (2, 3)}
Columns = dict[str, Any]


def more(growth: dict[int, Sequence[int]] | None = None, *, public: bool = False) -> Columns:
    """Return rows of owners that the world's first upload lacks."""
    chosen = GROWTH if growth is None else growth
    rows = [(owner, number, 1000 + 100 * owner + number) for owner in chosen for number in chosen[owner]]
    return {
        "images": np.stack([world.image(seed) for _, _, seed in rows]),
        "labels": np.array([world.SCHEMA.labels[seed % 3] for _, _, seed in rows]),
        "owners": np.array([address(owner) for owner, _, _ in rows]),
        "record_ids": np.array([f"row-{owner}-{number}" for owner, number, _ in rows]),
        "public": np.array([public for _ in rows]),
    }


def grow(doors: Doors, rows: Columns | None = None, once: OnceKey = NOTHING) -> Answer:
    files = {"file": world.packed(more() if rows is None else rows)}
    return grow_dataset("pictures", files, caller=ADMIN, once=once, doors=doors)


def advance(doors: Doors, model: str, version: int | None = None, once: OnceKey = NOTHING) -> dict[str, Any]:
    return advance_model(model, caller=ADMIN, once=once, doors=doors, dataset_version=version).body


def at_once(doors: Doors, *, without: Sequence[int] = (), **model: Any) -> dict[str, Any]:
    """Build a model on everything as one upload, as if there had never been two, and return what it serves."""
    first = world.columns(without=without)
    second = more({owner: rows for owner, rows in GROWTH.items() if owner not in without})
    rows = {name: np.concatenate([first[name], second[name]]) for name in first}
    register_dataset("pictures", world.SCHEMA, {"file": world.packed(rows)}, caller=ADMIN, once=NOTHING, doors=doors)
    name = add_model(doors, **model)
    drain(doors)
    return serving(doors, name)


def consistent(doors: Doors) -> None:
    """Hold everything against everything, and every certificate as an auditor does."""
    found = [(one.code, one.object) for one in check_consistency(doors, deep=True)]
    assert [one for one in found if one[0] != "orphan_object"] == []  # what a refused upload leaves: no key opens it
    vkeys = verification_keys(doors).split()
    with doors.database.transaction() as session:
        issued = session.execute(select(certificates.c.id)).scalars().all()
    for name in issued:
        envelope = read_certificate(name, caller=ADMIN, doors=doors)
        verdict = verify_certificate(envelope, read_proof(name, caller=ADMIN, doors=doors), vkeys)
        assert verdict.valid, verdict


@pytest.mark.parametrize("family", FamilyName)
def test_a_grown_model_is_bit_for_bit_one_that_was_built_on_everything_at_once(
    doors: Doors, elsewhere: Doors, family: FamilyName
) -> None:
    recipe = world.make_recipe(family)
    model = built(doors, recipe=recipe)
    first = serving(doors, model)
    grow(doors)
    told = advance(doors, model)
    assert (told["dataset_version"], told["serving"]["guarantee"]) == (2, "influence_free")
    drain(doors)
    grown = serving(doors, model)
    fresh = at_once(elsewhere, recipe=recipe)
    assert grown["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert grown["manifest_digest"] == fresh["manifest_digest"] != first["manifest_digest"]
    assert (grown["dataset_version"], fresh["dataset_version"]) == (2, 1)
    assert grown["retrain_equivalent_for_newest"] is fresh["retrain_equivalent_for_newest"] is True
    assert first["retrain_equivalent_for_newest"] is True
    consistent(doors)


def test_nodes_of_slices_that_did_not_grow_are_those_of_before(doors: Doors) -> None:
    model = built(doors)
    before = {node["key"] for node in serving(doors, model)["manifest"]["content"]["nodes"]}
    grow(doors, more({NEW: (0,)}))
    advance(doors, model)
    drain(doors)
    after = serving(doors, model)["manifest"]["content"]["nodes"]
    kept = [node for node in after if node["key"] in before]
    assert kept
    assert len(kept) < len(after)


@pytest.mark.parametrize("gone", [(NEW,), (BOTH,), (NEW, BOTH), (5,)], ids=["new", "both", "each", "old"])
@pytest.mark.parametrize("when", ["before the model follows", "while it grows", "after"])
def test_a_deletion_around_the_growth_ends_where_those_people_had_never_been(
    doors: Doors, elsewhere: Doors, gone: tuple[int, ...], when: str
) -> None:
    model = built(doors)
    grow(doors)
    if when == "before the model follows":
        asked = ask(doors, *gone)["id"]
        drain(doors)
        advance(doors, model)
    else:
        advance(doors, model)
        if when == "after":
            drain(doors)
        asked = ask(doors, *gone)["id"]
    drain(doors)
    grown = serving(doors, model)
    fresh = at_once(elsewhere, without=gone)
    assert grown["guarantee"] == fresh["guarantee"] == "retrain_equivalent"
    assert grown["manifest_digest"] == fresh["manifest_digest"]
    assert world.request_of(doors, asked)["state"] == RequestState.COMPLETED
    order = DeletionOrder(identities=tuple(Identity("email", address(owner)) for owner in gone))
    assert trace_subject(order, caller=ADMIN, doors=doors)["live"] == []
    consistent(doors)


def test_what_came_later_than_the_model_learns_from_strikes_nothing_when_it_goes(doors: Doors) -> None:
    model = built(doors)
    before = serving(doors, model)
    grow(doors)
    request = ask(doors, NEW)["id"]
    drain(doors)
    assert serving(doors, model)["id"] == before["id"]
    shown = world.request_of(doors, request)
    assert (shown["state"], shown["nodes_switched_off"]) == ("completed", 0)
    assert before["retrain_equivalent_for_newest"] is True
    assert serving(doors, model)["retrain_equivalent_for_newest"] is False
    consistent(doors)


def test_a_model_answers_at_full_depth_while_it_grows_and_says_what_it_is(doors: Doors) -> None:
    model = built(doors)
    depths = world.model_of(doors, model)["serving"]["depths"]
    grow(doors)
    told = advance(doors, model)
    assert told["serving"]["depths"] == depths
    assert (told["serving"]["dataset_version"], told["newest_dataset_version"]) == (2, 2)
    assert told["serving"]["retrain_equivalent_for_newest"] is False
    content = serving(doors, model)["manifest"]["content"]
    assert any(not node["canonical"] for node in content["nodes"])
    with doors.database.transaction() as session:
        jobs_of_nodes = session.execute(select(jobs.jobs.c.kind).where(jobs.jobs.c.state == "waiting")).scalars()
        assert set(jobs_of_nodes) == {"train_shard"}
        dead = session.execute(select(nodes.c.key).where(nodes.c.state == "dead")).all()
    assert dead == []
    drain(doors)
    with doors.database.transaction() as session:
        provisional = "SELECT count(*) FROM nodes WHERE state = 'live' AND NOT canonical AND dataset_version = 2"
        assert session.execute(text(provisional)).scalar_one() == 0  # nothing stood in: depth was never lost


def test_a_training_that_the_growth_overtook_commits_nothing(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dataset(doors)
    model = add_model(doors)
    grow(doors)
    struck: list[str] = []
    plain = train_node

    def slow(spec: Any, **named: Any) -> Any:
        done = plain(spec, **named)
        if not struck:
            struck.append(spec.key)
            advance(doors, model)
        return done

    monkeypatch.setattr("core.use_cases.train_together.train_node", slow)
    bench = Workbench()
    while not struck:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
        assert job is not None
        run_computation(job.id, job.fence, doors=doors, bench=bench)
    drain(doors)
    with doors.database.transaction() as session:
        row = session.execute(select(nodes).where(nodes.c.key == struck[0])).first()
    if row is not None:
        assert not {(row.shard, number) for number in row.slices} & _grown(doors, model)
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"
    consistent(doors)


def _grown(doors: Doors, model: str) -> set[tuple[int, int]]:
    with doors.database.transaction() as session:
        query = text("SELECT shard, slice FROM slices WHERE model_id = :model AND epoch > 0")
        return {(row.shard, row.slice) for row in session.execute(query, {"model": model})}


def test_a_version_with_nodes_of_two_data_set_versions_is_replayed_bit_for_bit(doors: Doors) -> None:
    model = built(doors, repair=False)
    grow(doors)
    advance(doors, model)
    drain(doors)
    outgrown = replay_version(doors, model)
    assert (outgrown.holds, outgrown.bit_for_bit, outgrown.gone) == (True, True, [])
    with doors.database.transaction() as session:
        session.execute(text("UPDATE models SET repair = true"))
    repair_model(model, caller=ADMIN, once=NOTHING, doors=doors)
    drain(doors)
    grown = replay_version(doors, model)
    assert (grown.holds, grown.bit_for_bit) == (True, True)
    listed = read_lineage(model, caller=ADMIN, doors=doors, limit=200, cursor=None, kind=ArtefactKind.NODE)["data"]
    assert {one["data"]["dataset_version"] for one in listed} == {1, 2}
    versions = read_lineage(model, caller=ADMIN, doors=doors, limit=200, cursor=None, kind=ArtefactKind.VERSION)["data"]
    assert next(one["dataset_version"] for one in versions) == 1
    assert versions[-1]["dataset_version"] == 2


def test_with_repair_off_a_model_follows_and_stays_provisional_and_is_certified(doors: Doors) -> None:
    model = built(doors, repair=False)
    grow(doors)
    advance(doors, model)
    drain(doors)
    assert serving(doors, model)["guarantee"] == "influence_free"
    first = ask(doors, 5)["id"]
    drain(doors)
    again = ask(doors, 5)[
        "id"
    ]  # finds nothing to switch off: what is certified is the version of before, outgrown nodes and all
    drain(doors)
    assert [world.request_of(doors, one)["state"] for one in (first, again)] == ["completed", "completed"]
    consistent(doors)


def test_a_receipt_counts_what_came_and_versions_are_listed(doors: Doors) -> None:
    made = add_dataset(doors)
    assert made["version"] == 1
    twin = more({31: (0,)})
    twin["images"] = world.columns()["images"][-1:]
    twin["labels"] = world.columns()["labels"][-1:]
    added = grow(doors, twin)
    assert added.status == 201
    assert {name: added.body[name] for name in ("number", "records", "owners", "new_owners")} == {
        "number": 2,
        "records": 1,
        "owners": 1,
        "new_owners": 1,
    }
    assert added.body["copies_under_other_owners"] == 1
    grow(doors, more({BOTH: (2,)}))
    page = read_dataset_versions("pictures", caller=ADMIN, doors=doors, limit=2, cursor=None)
    rest = read_dataset_versions("pictures", caller=ADMIN, doors=doors, limit=2, cursor=page["next_cursor"])
    listed = [(one["number"], one["records"], one["new_owners"]) for one in (*page["data"], *rest["data"])]
    assert listed == [(3, 1, 0), (2, 1, 1), (1, 60, 24)]
    whole = read_dataset("pictures", caller=ADMIN, doors=doors)
    assert (whole["version"], whole["records"], whole["owners"]) == (3, 62, 25)


def test_rows_that_cannot_be_added_are_refused_and_leave_nothing(doors: Doors) -> None:
    add_dataset(doors)
    ask(doors, 5)
    drain(doors)
    with pytest.raises(RowsRefused, match="record_id_taken"):
        grow(doors, more({7: (0, 2)}))
    with pytest.raises(RowsRefused, match="public_row"):
        grow(doors, more(public=True))
    with pytest.raises(OwnerSuppressed):
        grow(doors, more({5: (2,)}))
    wrong = more() | {"labels": np.array(["no such"] * 5)}
    with pytest.raises(RowsRefused, match="unknown_label"):
        grow(doors, wrong)
    with pytest.raises(DatasetNotFound):
        grow_dataset("nobody", {"file": world.packed(more())}, caller=ADMIN, once=NOTHING, doors=doors)
    assert read_dataset("pictures", caller=ADMIN, doors=doors)["version"] == 1
    consistent(doors)


def test_somebody_who_consented_anew_comes_back_with_a_new_version(doors: Doors, elsewhere: Doors) -> None:
    model = built(doors)
    ask(doors, BOTH)
    drain(doors)
    record_reconsent(Identity("email", address(BOTH)), caller=ADMIN, once=NOTHING, doors=doors)
    with pytest.raises(RowsRefused, match="record_id_taken"):
        grow(doors, more({BOTH: (0,)}))
    grow(doors)
    advance(doors, model)
    drain(doors)
    first, second = world.columns(without=(BOTH,)), more()
    rows = {name: np.concatenate([first[name], second[name]]) for name in first}
    files = {"file": world.packed(rows)}
    register_dataset("pictures", world.SCHEMA, files, caller=ADMIN, once=NOTHING, doors=elsewhere)
    fresh = add_model(elsewhere)
    drain(elsewhere)
    assert serving(doors, model)["manifest_digest"] == serving(elsewhere, fresh)["manifest_digest"]
    consistent(doors)


def test_a_repeated_growth_or_advance_is_answered_once(doors: Doors) -> None:
    model = built(doors)
    once = OnceKey(route="POST /v1/datasets/{dataset}/versions", key="again", body=b"1")
    first, second = grow(doors, once=once), grow(doors, once=once)
    assert (second.replayed, second.body) == (True, first.body)
    with pytest.raises(IdempotencyKeyReused):
        grow(doors, once=OnceKey(route=once.route, key="again", body=b"2"))
    following = OnceKey(route="POST /v1/models/{model}:advance", key="again", body=b"1")
    assert advance(doors, model, once=following) == advance(doors, model, once=following)
    with doors.database.transaction() as session:
        query = text("SELECT action FROM audit_entries WHERE action IN ('dataset.grown', 'model.advanced')")
        assert sorted(session.execute(query).scalars()) == ["dataset.grown", "model.advanced"]
    consistent(doors)


def test_a_model_chooses_its_version_and_never_goes_back(doors: Doors) -> None:
    add_dataset(doors)
    grow(doors)
    grow(doors, more({32: (0, 1)}))
    model = add_model(doors, dataset_version=2)
    drain(doors)
    shown = world.model_of(doors, model)
    assert (shown["dataset_version"], shown["newest_dataset_version"]) == (2, 3)
    assert sum(map(sum, shown["occupancy"]["records"])) == 48 + 5
    assert serving(doors, model)["retrain_equivalent_for_newest"] is False
    assert advance(doors, model, 2)["dataset_version"] == 2
    with pytest.raises(Impossible, match="never goes back"):
        advance(doors, model, 1)
    with pytest.raises(DatasetVersionNotFound):
        advance(doors, model, 4)
    with pytest.raises(DatasetVersionNotFound):
        add_model(doors, "other", dataset_version=4)
    with pytest.raises(ModelNotFound):
        advance(doors, "nobody")
    told = advance(doors, model)
    assert sum(map(sum, told["occupancy"]["records"])) == 48 + 7


def test_records_are_added_and_a_model_advanced_over_http(doors: Doors) -> None:
    model = built(doors)
    more_rows = {"file": ("file", world.packed(more()))}
    with client(doors) as caller:
        made = caller.post("/v1/datasets/pictures/versions:upload", files=more_rows, headers={"Idempotency-Key": "one"})
        assert (made.status_code, made.json()["number"]) == (201, 2), made.text
        again = caller.post(
            "/v1/datasets/pictures/versions:upload", files=more_rows, headers={"Idempotency-Key": "one"}
        )
        assert (again.json(), again.headers["idempotent-replayed"]) == (made.json(), "true")
        problem(caller.post("/v1/datasets/pictures/versions:upload", files=more_rows), 400, "rows_refused")
        problem(caller.post("/v1/datasets/nobody/versions:upload", files=more_rows), 404, "dataset_not_found")
        outside = caller.post("/v1/datasets/pictures/versions", json={"files": {"file": "/etc/passwd"}})
        problem(outside, 403, "path_not_allowed")
        listed = caller.get("/v1/datasets/pictures/versions").json()["data"]
        assert [one["number"] for one in listed] == [2, 1]
        problem(
            caller.post(f"/v1/models/{model}:advance", json={"dataset_version": 3}), 404, "dataset_version_not_found"
        )
        followed = caller.post(f"/v1/models/{model}:advance")
        assert (followed.status_code, followed.json()["dataset_version"]) == (202, 2)
        problem(caller.post(f"/v1/models/{model}:advance", json={"dataset_version": 1}), 422, "impossible")
        other = {"name": "other", "dataset": "pictures", "dataset_version": 1, "recipe": {"shards": 2, "slices": 3}}
        assert caller.post("/v1/models", json=other).json()["dataset_version"] == 1
