"""Lists: pages without gaps or repeats, cursors bound to their filters, and filters that choose what they say."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from api.app import create_app
from core.audit.log import verify_consistency, verify_inclusion
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import client, post_deletion, problem, service


@pytest.fixture(scope="module")
def busy(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("lists")) as opened:
        world.built(opened)
        world.add_model(opened, "second", recipe=world.make_recipe(shards=1, slices=2), approval_required=True)
        world.drain(opened)
        with client(opened) as http:
            for owner in range(4):
                post_deletion(http, owner, external_id=f"case-{owner}", regulation="gdpr" if owner % 2 else "ccpa")
            for owner in range(4, 7):
                post_deletion(http, owner, scope={"models": ["classifier"]})
        world.drain(opened)
        for number in range(3):
            world.add_dataset(opened, f"more-{number}", without=range(8))
            world.add_model(opened, f"more-{number}", "more-0", recipe=world.make_recipe(shards=1, slices=2))
            with client(opened) as http:
                http.post("/v1/api-keys", json={"name": f"more-{number}", "scopes": ["jobs:read"]}).raise_for_status()
        yield opened


@pytest.fixture(scope="module")
def caller(busy: Doors) -> Iterator[TestClient]:
    with client(busy) as opened:
        yield opened


def test_a_page_of_requests_takes_as_many_questions_as_one_and_says_the_same(busy: Doors, caller: TestClient) -> None:
    counted: dict[int, int] = {}
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def counting(cursor: Any, query: Any, *values: Any, **how: Any) -> Any:
        asked.append(str(query))
        return execute(cursor, query, *values, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", counting)
        for limit in (1, 200):
            asked.clear()
            page = caller.get("/v1/deletion-requests", params={"limit": limit}).json()["data"]
            counted[limit] = len(asked)
    assert len(page) == 7
    assert max(counted.values()) < 10, "one more when the key was used for the first time in a minute"
    assert page == [caller.get(f"/v1/deletion-requests/{one['id']}").json() for one in page]
    assert all(one["subject_references"] for one in page)
    with busy.database.transaction() as session:
        for name in ("jobs", "certificates"):
            rows = session.execute(text(f"SELECT id FROM {name} WHERE request_id <> '' ORDER BY 1"))  # noqa: S608
            assert sorted(each["id"] for one in page for each in one[name]) == list(rows.scalars())
        died = session.execute(text("SELECT died_for, count(*) FROM nodes WHERE died_for <> '' GROUP BY 1")).all()
    switched_off = {row[0]: row[1] for row in died}
    assert switched_off
    assert {one["id"]: one["nodes_switched_off"] for one in page if one["nodes_switched_off"]} == switched_off


def names(rows: list[dict[str, Any]]) -> list[Any]:
    return [next(row[name] for name in ("id", "index", "key") if name in row) for row in rows]


def pages(caller: TestClient, address: str, limit: int, **filters: Any) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        wanted = {"limit": limit, **filters} | ({"cursor": cursor} if cursor else {})
        body = caller.get(address, params=wanted).json()
        assert body["object"] == "list"
        assert body["has_more"] is (body["next_cursor"] is not None)
        yield body["data"]
        cursor = body["next_cursor"]
        if cursor is None:
            return


LISTS = [
    "/v1/deletion-requests",
    "/v1/jobs",
    "/v1/certificates",
    "/v1/models",
    "/v1/models/classifier/nodes",
    "/v1/models/classifier/versions",
    "/v1/models/classifier/lineage",
    "/v1/datasets",
    "/v1/api-keys",
    "/v1/audit/entries",
]


def test_every_list_has_pages(busy: Doors) -> None:
    addresses = create_app(busy).openapi()["paths"]
    for address, methods in addresses.items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        shape = answer.get("application/json", {}).get("schema", {}).get("$ref", "")
        if "/Page_" in shape and address != "/v1/methods":  # the menu comes with the release and is one page
            assert {"limit", "cursor"} <= {one["name"] for one in methods["get"]["parameters"]}, address
    listed = {address.replace("{model}", "classifier") for address, methods in addresses.items() if "get" in methods}
    assert set(LISTS) <= listed


@pytest.mark.parametrize("address", ["/v1/deletion-requests", "/v1/models", "/v1/datasets", "/v1/api-keys"])
def test_a_list_begins_with_what_is_newest(caller: TestClient, address: str) -> None:
    times = [row.get("created_at") or row["received_at"] for row in caller.get(address).json()["data"]]
    assert times == sorted(times, reverse=True)


def test_nodes_are_listed_shard_by_shard(caller: TestClient) -> None:
    rows = caller.get("/v1/models/classifier/nodes").json()["data"]
    places = [(row["shard"], row["slices"]) for row in rows]
    assert places == sorted(places)


def test_a_cursor_of_one_list_is_refused_by_another(caller: TestClient) -> None:
    lists = [one for one in LISTS if "classifier" not in one]
    for address, other in zip(lists, lists[1:] + lists[:1], strict=True):
        cursor = caller.get(address, params={"limit": 1}).json()["next_cursor"]
        assert caller.get(address, params={"limit": 1, "cursor": cursor}).status_code == 200
        problem(caller.get(other, params={"limit": 1, "cursor": cursor}), 400, "cursor_unusable")


def test_a_node_that_dies_between_two_pages_moves_no_other(caller: TestClient, busy: Doors) -> None:
    address = "/v1/models/classifier/nodes"
    whole = names(caller.get(address).json()["data"])
    paging = pages(caller, address, 2)
    seen = names(next(paging))
    with busy.database.engine.begin() as session:
        session.execute(text("UPDATE nodes SET state = 'dead' WHERE key = :key"), {"key": seen[-1]})
    seen += names([row for part in paging for row in part])
    assert seen == whole


@pytest.mark.parametrize("address", LISTS)
@pytest.mark.parametrize("limit", [1, 3])
def test_the_pages_of_a_list_make_up_the_whole_list_in_order(caller: TestClient, address: str, limit: int) -> None:
    whole = [row for part in pages(caller, address, 200) for row in part]
    assert len(whole) > 3
    parts = list(pages(caller, address, limit if address != "/v1/audit/entries" else 7 * limit))
    assert all(parts)
    assert names([row for part in parts for row in part]) == names(whole)
    assert len(set(names(whole))) == len(whole)


def test_a_page_that_is_exactly_full_has_no_next(caller: TestClient) -> None:
    count = len(caller.get("/v1/deletion-requests", params={"limit": 200}).json()["data"])
    body = caller.get("/v1/deletion-requests", params={"limit": count}).json()
    assert (len(body["data"]), body["has_more"], body["next_cursor"]) == (count, False, None)


def test_what_arrives_while_somebody_pages_moves_nothing(caller: TestClient) -> None:
    before = names(caller.get("/v1/deletion-requests", params={"limit": 200}).json()["data"])
    paging = pages(caller, "/v1/deletion-requests", 2)
    seen = next(paging)
    newcomer = post_deletion(caller, 20, scope={"models": ["classifier"]})["id"]
    seen += [row for part in paging for row in part]
    assert names(seen) == before
    assert newcomer not in names(seen)


@pytest.mark.parametrize(
    ("address", "filters", "others"),
    [
        ("/v1/deletion-requests", {"regulation": "gdpr"}, {"regulation": "ccpa"}),
        ("/v1/deletion-requests", {}, {"state": "completed"}),
        ("/v1/jobs", {"kind": "train_shard"}, {"kind": "train_shard", "state": "done"}),
        ("/v1/audit/entries", {"action": "job.done"}, {"action": "job.created"}),
        ("/v1/audit/entries", {"since": "2020-01-01T00:00:00Z"}, {"since": "2020-01-02T00:00:00Z"}),
    ],
)
def test_a_cursor_with_other_filters_is_refused(
    caller: TestClient, address: str, filters: dict[str, str], others: dict[str, str]
) -> None:
    cursor = caller.get(address, params={"limit": 1, **filters}).json()["next_cursor"]
    assert cursor
    assert caller.get(address, params={"limit": 1, **filters, "cursor": cursor}).status_code == 200
    problem(caller.get(address, params={"limit": 1, **others, "cursor": cursor}), 400, "cursor_unusable")


def test_a_cursor_of_one_model_is_refused_by_another(caller: TestClient) -> None:
    cursor = caller.get("/v1/models/classifier/versions?limit=1").json()["next_cursor"]
    problem(caller.get("/v1/models/second/versions", params={"cursor": cursor}), 400, "cursor_unusable")


@pytest.mark.parametrize("position", [None, [], {}, True, 1.5])
@pytest.mark.parametrize("address", LISTS)
def test_a_cursor_whose_place_was_altered_is_refused(caller: TestClient, address: str, position: Any) -> None:
    _, digest = json.loads(base64.urlsafe_b64decode(caller.get(address, params={"limit": 1}).json()["next_cursor"]))
    altered = base64.urlsafe_b64encode(json.dumps([position, digest]).encode()).decode()
    problem(caller.get(address, params={"cursor": altered}), 400, "cursor_unusable")


@pytest.mark.parametrize("content", [[1], 1, {}, [{"a": 1}, ""], ["x", "y", "z"], None, [None, "44136fa355b3678a"]])
@pytest.mark.parametrize("address", LISTS)
def test_a_cursor_that_somebody_made_up_is_refused(caller: TestClient, address: str, content: Any) -> None:
    made_up = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    for cursor in (made_up, "%%%", "", made_up + "!"):
        problem(caller.get(address, params={"cursor": cursor}), 400, "cursor_unusable")


@pytest.mark.parametrize(("limit", "status"), [(0, 422), (1, 200), (200, 200), (201, 422), (-1, 422), ("x", 422)])
def test_a_page_holds_1_to_200(caller: TestClient, limit: Any, status: int) -> None:
    assert caller.get("/v1/jobs", params={"limit": limit}).status_code == status


def found(caller: TestClient, address: str, **filters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = caller.get(address, params={"limit": 200, **filters}).json()["data"]
    return rows


def test_requests_are_filtered_by_state_case_regulation_model_and_time(caller: TestClient) -> None:
    address = "/v1/deletion-requests"
    everything = found(caller, address)
    assert {row["state"] for row in found(caller, address, state="pending_approval")} == {"pending_approval"}
    assert [row["external_id"] for row in found(caller, address, external_id="case-2")] == ["case-2"]
    assert sorted(row["external_id"] for row in found(caller, address, regulation="gdpr")) == ["case-1", "case-3"]
    model = caller.get("/v1/models/classifier").json()["id"]
    mine = found(caller, address, model=model)
    assert names(mine) == [row["id"] for row in everything if model in {job["model"] for job in row["jobs"]}]
    assert len(mine) < len(everything)
    middle = everything[3]["received_at"]
    later = names(found(caller, address, received_after=middle))
    earlier = names(found(caller, address, received_before=middle))
    assert later == names(everything)[:3]
    assert earlier == names(everything)[4:]
    assert found(caller, address, model="mdl_none") == []


def test_jobs_are_filtered_by_state_kind_model_and_request(caller: TestClient) -> None:
    everything = found(caller, "/v1/jobs")
    for field, name in (("state", "state"), ("kind", "kind"), ("model", "model"), ("request", "request")):
        value = next(row[field] for row in everything if row[field])
        chosen = found(caller, "/v1/jobs", **{name: value})
        assert names(chosen) == [row["id"] for row in everything if row[field] == value]
        assert chosen


def test_log_entries_are_filtered_by_action_actor_object_and_time(caller: TestClient) -> None:
    everything = found(caller, "/v1/audit/entries")
    request = caller.get("/v1/deletion-requests?external_id=case-1").json()["data"][0]["id"]
    about = found(caller, "/v1/audit/entries", object=request)
    assert [row["entry"]["action"] for row in about][:2] == [
        "deletion_request.received",
        "deletion_request.approval_required",
    ]
    assert {row["entry"]["actor"]["id"] for row in found(caller, "/v1/audit/entries", actor="test")} == {"test"}
    assert {row["entry"]["action"] for row in found(caller, "/v1/audit/entries", action="job.done")} == {"job.done"}
    instant = everything[9]["entry"]["at"]
    before = names(found(caller, "/v1/audit/entries", until=instant))
    after = names(found(caller, "/v1/audit/entries", since=instant))
    assert before
    assert (before + after)[: len(everything)] == names(everything)


@pytest.mark.parametrize(
    "question", ["deletion-requests?state=nonsense", "jobs?state=x", "jobs?kind=x", "audit/entries?action=x"]
)
def test_a_filter_word_that_does_not_exist_is_refused(caller: TestClient, question: str) -> None:
    problem(caller.get(f"/v1/{question}"), 422, "invalid_body")


def head(caller: TestClient) -> tuple[int, bytes]:
    _, size, root, *_ = caller.get("/v1/audit/checkpoint").text.splitlines()
    return int(size), base64.b64decode(root)


def test_proofs_fold_up_to_the_signed_heads(caller: TestClient) -> None:
    old, old_root = head(caller)
    post_deletion(caller, 21, scope={"models": ["classifier"]})
    new, new_root = head(caller)
    assert new > old
    for index in (0, 5, new - 1):
        proof = caller.get("/v1/audit/proofs/inclusion", params={"index": index, "size": new}).json()
        path = [base64.b64decode(part) for part in proof["path"]]
        assert verify_inclusion(index, new, base64.b64decode(proof["leaf_hash"]), path, root=new_root)
    grown = caller.get("/v1/audit/proofs/consistency", params={"from": old, "to": new}).json()["path"]
    hashes = [base64.b64decode(part) for part in grown]
    assert verify_consistency(old, new, hashes, old_root=old_root, new_root=new_root)


@pytest.mark.parametrize("question", ["inclusion?index=0&size=0", "inclusion?index=9&size=9", "consistency?from=0"])
def test_a_proof_about_a_log_that_never_was_is_refused(caller: TestClient, question: str) -> None:
    problem(caller.get(f"/v1/audit/proofs/{question}"), 422, "impossible")
    problem(caller.get("/v1/audit/proofs/inclusion?index=99999"), 404, "entry_not_found")
