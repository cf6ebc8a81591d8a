"""Lineage: everything says where it comes from, and what ever saw somebody is named until it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from core.domain.access import Caller, Scope
from core.domain.errors import CursorUnusable, DatasetNotFound, Forbidden, ModelNotFound, SubjectMissing
from core.domain.job import Lane
from core.persistence import jobs, versions
from core.persistence.nodes import nodes
from core.persistence.requests import erasures
from core.use_cases.doors import DEFAULT_TENANT, Doors
from core.use_cases.read_lineage import READERS, ArtefactKind, ArtefactState, read_lineage
from core.use_cases.resolve_subjects import DeletionOrder, Identity, RecordSubject
from core.use_cases.run_computation import run_computation
from core.use_cases.trace_subject import trace_subject
from tests.integration import world
from tests.integration.callers import client, problem
from tests.integration.world import ADMIN, address, ask, ask_records, built, deactivate, drain, serving


def artefacts(doors: Doors, model: str, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = read_lineage(model, caller=ADMIN, doors=doors, limit=7, cursor=cursor, **filters)
        found += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


def trace(doors: Doors, *owners: int, records: tuple[str, ...] = ()) -> dict[str, Any]:
    subject = (RecordSubject("pictures", records),) if records else ()
    order = DeletionOrder(identities=tuple(Identity("email", address(one)) for one in owners), records=subject)
    return trace_subject(order, caller=ADMIN, doors=doors)


def kinds(found: dict[str, Any]) -> dict[str, int]:
    listed = [one["kind"] for one in found["live"]]
    return {kind: listed.count(kind) for kind in sorted(set(listed))}


def test_every_artefact_stands_on_artefacts_and_says_who_made_it_when(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    found = artefacts(doors, model)
    by_id = {one["id"]: one for one in found}
    assert len(by_id) == len(found)
    assert {one["kind"] for one in found} == {"backbone", "node", "version", "certificate"}
    for one in found:
        assert one["made_at"], one
        assert one["made"], one
        for parent in one["parents"]:
            assert parent["kind"] == "request" or parent["id"] in by_id
        if one["kind"] == "node":
            assert one["made"]["job"].startswith("job_")
            assert one["made"]["worker"] == "test"
            assert one["environment"]["torch"]
            assert len(one["data"]["slice_roots"]) == len(one["data"]["slices"])
    dead = [one for one in found if one["state"] == "dead"]
    assert dead
    assert all(one["ended_at"] and one["ended_for"].startswith("dr_") for one in dead)
    (live,) = [one for one in found if one["kind"] == "version" and one["state"] == "live"]
    assert live["digest"] == serving(doors, model)["manifest_digest"]


def test_a_list_is_narrowed_by_kind_and_state(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    everything = artefacts(doors, model)
    for kind in ArtefactKind:
        assert artefacts(doors, model, kind=kind) == [one for one in everything if one["kind"] == kind]
    dead = artefacts(doors, model, kind=ArtefactKind.NODE, state=ArtefactState.DEAD)
    assert dead == [one for one in everything if one["kind"] == "node" and one["state"] == "dead"]
    with pytest.raises(ModelNotFound):
        artefacts(doors, "nobody")
    first = read_lineage(model, caller=ADMIN, doors=doors, limit=1, cursor=None)
    with pytest.raises(CursorUnusable):
        read_lineage(model, caller=ADMIN, doors=doors, limit=1, cursor=first["next_cursor"], state=ArtefactState.DEAD)


def test_a_state_that_does_not_exist_is_refused_and_kinds_that_never_have_it_are_not_looked_through(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    everything = artefacts(doors, model)
    with client(doors) as caller:
        body = problem(caller.get(f"/v1/models/{model}/lineage?state=alive"), 422, "invalid_body")
        assert [one["pointer"] for one in body["errors"]] == ["/query/state"]
    looked: list[ArtefactKind] = []

    def watched(one: ArtefactKind, reader: Any) -> Any:
        def read(*asked: Any) -> Any:
            looked.append(one)
            return reader(*asked)

        return read

    for one, reader in READERS.items():
        monkeypatch.setitem(READERS, one, watched(one, reader))
    for state in ArtefactState:
        assert artefacts(doors, model, state=state) == [one for one in everything if one["state"] == state]
    by_state = {state: artefacts(doors, model, state=state) for state in ArtefactState}
    assert {state for state, found in by_state.items() if found} >= {"live", "dead", "superseded"}
    looked.clear()
    artefacts(doors, model, state=ArtefactState.DEAD)
    assert set(looked) == {ArtefactKind.NODE}
    assert artefacts(doors, model, kind=ArtefactKind.VERSION, state=ArtefactState.DEAD) == []


def test_what_ever_saw_an_owner_is_named_and_gone_after_the_deletion(doors: Doors) -> None:
    model = built(doors)
    before = trace(doors, 5)
    assert kinds(before) == {"node": 4, "rows": 1, "version": 1}
    assert {one["model"] for one in before["live"]} == {model, None}
    request = ask(doors, 5)
    drain(doors)
    assert world.request_of(doors, request["id"])["state"] == "completed"
    assert serving(doors, model)["guarantee"] == "retrain_equivalent"
    after = trace(doors, 5)
    assert after == {"object": "trace", "live": [], "nodes_gone": 4, "exported": []}
    assert kinds(trace(doors, 9))["rows"] == 1, "nobody else is gone"


def test_a_record_is_traced_by_itself_and_its_owners_other_rows_stay(doors: Doors) -> None:
    built(doors)
    ask_records(doors, "row-5-0")
    drain(doors)
    assert trace(doors, records=("row-5-0",))["live"] == []
    assert kinds(trace(doors, records=("row-5-1",))) == {"node": 4, "rows": 1, "version": 1}
    assert kinds(trace(doors, 5))["rows"] == 1


def test_until_the_keys_are_destroyed_what_they_open_is_named(doors: Doors) -> None:
    built(doors)
    ask(doors, 5)
    drain(doors)
    with doors.database.transaction() as session:
        session.execute(update(erasures).values(destroyed_at=None))
    assert kinds(trace(doors, 5)) == {"node": 4, "rows": 1}


def test_somebody_who_was_never_there_was_seen_by_nothing(doors: Doors) -> None:
    built(doors)
    assert trace(doors, 999) == {"object": "trace", "live": [], "nodes_gone": 0, "exported": []}


def test_a_deletion_from_one_model_leaves_the_rows_and_says_so(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5, models=(model,))
    drain(doors)
    assert kinds(trace(doors, 5)) == {"rows": 1}


def test_an_owner_in_the_public_part_was_seen_by_the_backbone_for_good(doors: Doors) -> None:
    world.add_dataset(doors, public_owner=address(5))
    world.add_model(doors)
    drain(doors)
    assert kinds(trace(doors, 5))["backbone"] == 1
    ask(doors, 5)
    drain(doors)
    assert kinds(trace(doors, 5)) == {"backbone": 1}


def test_a_node_that_learned_a_deleted_record_and_lives_is_named(doors: Doors) -> None:
    """The tombstone is there and the switch was not thrown: what a broken deletion would leave."""
    model = built(doors)
    kept = {one["id"] for one in trace(doors, 5)["live"] if one["kind"] == "node"}
    ask(doors, 5)
    drain(doors)
    with doors.database.transaction() as session:
        row = session.execute(nodes.select().where(nodes.c.key.in_(kept))).first()
        assert row is not None
        fresh = {"state": "live", "object_digest": "0" * 64, "data_key_id": "nod_again", "died_at": None}
        session.execute(update(nodes).where(nodes.c.key == row.key, nodes.c.model_id == model).values(**fresh))
    assert [one["id"] for one in trace(doors, 5)["live"]] == [row.key]


def test_a_predictor_that_still_answers_from_an_older_version_is_named(doors: Doors) -> None:
    model = built(doors)
    ask(doors, 5)
    drain(doors)
    with doors.database.transaction() as session:
        versions.confirm_serving(
            session, tenant_id=DEFAULT_TENANT, model_id=model, predictor_id="slow", version_number=1, lease_seconds=60
        )
    assert kinds(trace(doors, 5)) == {"predictor": 1}


def test_a_training_that_may_hold_the_rows_open_is_named(doors: Doors) -> None:
    built(doors)
    ask(doors, 9)
    deactivate(doors)
    began = None
    while began is None:
        with doors.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="test", lease=60)
        assert job is not None
        if job.kind == "train_node":
            began = job
        else:
            run_computation(job.id, job.fence, doors=doors)
    assert kinds(trace(doors, 9)) == {}, "it began after the deletion"
    others = [owner for owner in range(world.OWNERS) if owner != 9 and kinds(trace(doors, owner)).get("training")]
    assert others, "everybody else in its shard is being read"


def test_a_question_about_nobody_or_by_nobody_is_refused(doors: Doors) -> None:
    built(doors)
    with pytest.raises(SubjectMissing):
        trace(doors)
    order = DeletionOrder(records=(RecordSubject("nothing", ("1",)),))
    with pytest.raises(DatasetNotFound):
        trace_subject(order, caller=ADMIN, doors=doors)
    reader = Caller(tenant_id=ADMIN.tenant_id, key_id="ak_r", scopes=frozenset(set(Scope) - {Scope.REQUESTS_CREATE}))
    with pytest.raises(Forbidden):
        trace_subject(DeletionOrder(identities=(Identity("email", "x@y"),)), caller=reader, doors=doors)


@pytest.fixture
def caller(doors: Doors) -> Iterator[TestClient]:
    with client(doors) as http:
        yield http


def test_over_http_the_identity_travels_in_the_body_and_is_never_repeated(
    doors: Doors, caller: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    model = built(doors)
    subject = {"identities": [{"identity_type": "email", "identity_value": address(5)}]}
    answer = caller.post("/v1/lineage:trace", json={"subject": subject})
    assert answer.status_code == 200, answer.text
    assert {one["kind"] for one in answer.json()["live"]} == {"rows", "node", "version"}
    listed = caller.get(f"/v1/models/{model}/lineage", params={"kind": "node", "limit": 2})
    assert (listed.status_code, len(listed.json()["data"]), listed.json()["has_more"]) == (200, 2, True)
    wrong = {"identities": [{"identity_type": "email", "identity_value": address(5), "name": address(5)}]}
    problem(caller.post("/v1/lineage:trace", json={"subject": wrong}), 422, "invalid_body")
    said = answer.text + listed.text + json.dumps(capfd.readouterr())
    assert address(5) not in said
