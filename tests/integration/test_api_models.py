"""Models over HTTP: what registration answers and refuses, and a placement key that goes in and never comes out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import client, problem, service

KEY = base64.b64encode(bytes(range(100, 132))).decode()
RECIPE: dict[str, Any] = {
    "shards": 2,
    "slices": 3,
    "backbone": {"width": 8, "layers": 3, "heads": 2, "patch": 2, "epochs": 1, "batch_size": 8},
    "node": {"rank": 2, "alpha": 4.0, "epochs": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("models")) as found:
        world.add_dataset(found)
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def register(caller: TestClient, name: str, key: str = "", **body: Any) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    order = {"name": name, "dataset": "pictures", "recipe": RECIPE} | body
    return caller.post("/v1/models", json=order, headers=headers)


def test_a_model_is_registered_built_and_shown(caller: TestClient, opened: Doors) -> None:
    answer = register(caller, "first", policy={"approval_required": True, "repair": False})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["state"], body["serving"]) == ("registered", None)
    assert sum(map(sum, body["occupancy"]["owners"])) == world.OWNERS
    assert sum(map(sum, body["occupancy"]["records"])) == world.OWNERS * world.ROWS_EACH
    assert body["policy"] == {"approval_required": True, "repair": False, "repair_budget": None}
    world.drain(opened)
    live = caller.get(f"/v1/models/{body['id']}").json()
    assert (live["state"], live["serving"]["guarantee"]) == ("live", "retrain_equivalent")
    assert live["serving"]["depths"] == [3, 3]
    assert caller.get("/v1/models/first").json() == live
    assert live in caller.get("/v1/models").json()["data"]
    by_name = [caller.get(f"/v1/models/first/versions/{one}").json() for one in ("serving", "1")]
    by_name.append(caller.get(f"/v1/models/first/versions/{live['serving']['version']}").json())
    assert by_name[0] == by_name[1] == by_name[2]
    content = by_name[0]["manifest"]["content"]
    served = {key for keys in content["served"] for key in keys}
    assert served <= {node["key"] for node in caller.get("/v1/models/first/nodes").json()["data"]}
    problem(caller.get("/v1/models/first/versions/99"), 404, "version_not_found")


def test_the_placement_key_reproduces_placement_and_is_never_shown(
    caller: TestClient, opened: Doors, capfd: pytest.CaptureFixture[str]
) -> None:
    one = register(caller, "placed-1", placement_key=KEY, key="model-1")
    other = register(caller, "placed-2", placement_key=KEY)
    fresh = register(caller, "placed-3")
    assert one.json()["occupancy"] == other.json()["occupancy"]
    assert one.json()["occupancy"] != fresh.json()["occupancy"]
    replay = register(caller, "placed-1", placement_key=KEY, key="model-1")
    assert replay.headers["idempotent-replayed"] == "true"
    assert replay.content == one.content
    changed = register(caller, "placed-1", placement_key=base64.b64encode(bytes(32)).decode(), key="model-1")
    problem(changed, 422, "idempotency_key_reused")
    answers = [one, other, fresh, replay, changed]
    answers += [caller.get(f"/v1/models/{name}") for name in ("placed-1", "placed-2", "placed-3")]
    answers += [caller.get("/v1/models"), caller.get("/v1/audit/entries?limit=200"), caller.get("/openapi.json")]
    told = capfd.readouterr()
    spoken = "".join(answer.text + repr(answer.headers) for answer in answers) + told.out + told.err
    kept = opened.keys.get(f"placement_{one.json()['id']}")
    assert kept == base64.b64decode(KEY)
    for form in (KEY, kept.hex(), KEY.rstrip("="), repr(kept)):
        assert form not in spoken


@pytest.mark.parametrize("key", ["short", "!" * 44, base64.b64encode(bytes(31)).decode(), 5, ["x"], KEY + "AAAA"])
def test_a_placement_key_that_is_none_is_refused_and_not_repeated(caller: TestClient, key: Any) -> None:
    answer = register(caller, "misplaced", placement_key=key)
    errors = problem(answer, 422, "invalid_body")["errors"]
    assert [one["pointer"] for one in errors] == ["/placement_key"]
    assert str(key) not in json.dumps(errors[0]["detail"])


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"recipe": RECIPE | {"shards": 5}}, 422, "too_few_owners"),
        ({"recipe": RECIPE | {"slices": 4, "shards": 1}}, 422, "too_few_layers"),
        ({"recipe": RECIPE | {"slices": 0}}, 400, "bad_input"),
        ({"recipe": RECIPE | {"family_budget": 2}}, 400, "bad_input"),
        ({"recipe": RECIPE | {"family": "nonsense"}}, 422, "invalid_body"),
        ({"dataset": "nobody"}, 404, "dataset_not_found"),
        ({"name": "bad name!"}, 422, "invalid_body"),
        ({"learning_rate": 1}, 422, "invalid_body"),
    ],
)
def test_what_cannot_be_built_is_refused(caller: TestClient, change: dict[str, Any], status: int, code: str) -> None:
    problem(register(caller, **({"name": "refused"} | change)), status, code)


def test_a_name_is_taken_once(caller: TestClient) -> None:
    assert register(caller, "taken").status_code == 201
    problem(register(caller, "taken"), 409, "name_taken")


def test_a_data_set_without_public_rows_gives_no_backbone(caller: TestClient) -> None:
    schema = world.SCHEMA.as_json() | {"public_column": None}
    rows = {name: column[world.PUBLIC :] for name, column in world.columns().items()}
    files = {"file": ("rows.npz", world.packed(rows))}
    made = caller.post("/v1/datasets:upload", data={"name": "private", "schema": json.dumps(schema)}, files=files)
    assert made.status_code == 201, made.text
    problem(register(caller, "no-backbone", dataset="private"), 422, "no_public_part")


def test_a_repair_policy_is_changed_under_if_match(caller: TestClient, opened: Doors) -> None:
    made = register(caller, "thrifty", policy={"repair_budget": {"slice_epochs_per_deletion": 2.8}})
    assert made.status_code == 201, made.text
    assert made.json()["repair"]["policy"] == "budget"
    world.drain(opened)
    shown = caller.get("/v1/models/thrifty")
    tag = shown.headers["etag"]
    assert tag == f'"{shown.json()["row_version"]}"'
    changed = caller.patch("/v1/models/thrifty", json={"policy": {"repair": "off"}}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["repair"]["policy"]) == (200, "off")
    assert changed.json()["policy"]["repair"] is False
    stale = caller.patch("/v1/models/thrifty", json={"policy": {"repair": True}}, headers={"If-Match": tag})
    problem(stale, 412, "stale_row_version")
    tag = changed.headers["etag"]
    budget = {"policy": {"repair_budget": {"compute_minutes_per_hour": 6}}}
    changed = caller.patch("/v1/models/thrifty", json=budget, headers={"If-Match": tag})
    assert changed.json()["policy"] == {
        "approval_required": False,
        "repair": True,
        "repair_budget": {"compute_minutes_per_hour": 6},
    }
    full = caller.patch("/v1/models/thrifty", json={"policy": {"repair_budget": None}})
    assert full.json()["repair"]["policy"] == "full"
    assert caller.patch("/v1/models/thrifty", json={"policy": {"repair": True}}).headers["etag"] == full.headers["etag"]


@pytest.mark.parametrize(
    "policy",
    [
        {"repair": "sometimes"},
        {"repair": False, "repair_budget": {"slice_epochs_per_deletion": 1}},
        {"repair_budget": {}},
        {"repair_budget": {"slice_epochs_per_deletion": 0}},
        {"repair_budget": {"slice_epochs_per_deletion": 1, "compute_minutes_per_hour": 1}},
        {"approval_required": False},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(caller: TestClient, policy: dict[str, Any]) -> None:
    problem(caller.patch("/v1/models/nobody", json={"policy": policy}), 422, "invalid_body")
    problem(caller.patch("/v1/models/nobody", json={"policy": {"repair": True}}), 404, "model_not_found")
