"""Who may call what: every route has its key and its scope, and another tenant's things do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.acquaintances import MOST, Acquaintances
from api.app import create_app
from api.documentation import api_routes, scope_of
from core.domain import access
from core.domain.access import Scope
from core.persistence import requests, tenants
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import OTHER_TENANT, bearer, client, key, once, post_deletion, problem, service, subject

OPEN = {("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/.well-known/lethe", "/.well-known/lethe.vkey")}
ANY_KEY = {("GET", "/v1/whoami")}
SCOPES = {
    ("POST", "/v1/datasets"): Scope.DATASETS_WRITE,
    ("POST", "/v1/datasets:upload"): Scope.DATASETS_WRITE,
    ("GET", "/v1/datasets"): Scope.DATASETS_READ,
    ("GET", "/v1/datasets/{dataset}"): Scope.DATASETS_READ,
    ("POST", "/v1/datasets/{dataset}/versions"): Scope.DATASETS_WRITE,
    ("POST", "/v1/datasets/{dataset}/versions:upload"): Scope.DATASETS_WRITE,
    ("GET", "/v1/datasets/{dataset}/versions"): Scope.DATASETS_READ,
    ("POST", "/v1/models"): Scope.MODELS_WRITE,
    ("GET", "/v1/models"): Scope.MODELS_READ,
    ("GET", "/v1/models/{model}"): Scope.MODELS_READ,
    ("PATCH", "/v1/models/{model}"): Scope.MODELS_WRITE,
    ("POST", "/v1/models/{model}:advance"): Scope.MODELS_WRITE,
    ("GET", "/v1/models/{model}/lineage"): Scope.MODELS_READ,
    ("POST", "/v1/lineage:trace"): Scope.REQUESTS_CREATE,
    ("GET", "/v1/models/{model}/nodes"): Scope.MODELS_READ,
    ("GET", "/v1/models/{model}/versions"): Scope.MODELS_READ,
    ("GET", "/v1/models/{model}/versions/{version}"): Scope.MODELS_READ,
    ("POST", "/v1/plans"): Scope.MODELS_READ,
    ("GET", "/v1/methods"): Scope.MODELS_READ,
    ("GET", "/v1/methods/{method_name}"): Scope.MODELS_READ,
    ("POST", "/v1/deletion-requests"): Scope.REQUESTS_CREATE,
    ("POST", "/v1/deletion-requests:preview"): Scope.REQUESTS_CREATE,
    ("POST", "/v1/suppressions:reconsent"): Scope.REQUESTS_APPROVE,
    ("GET", "/v1/deletion-requests"): Scope.REQUESTS_READ,
    ("GET", "/v1/deletion-requests/{request_id}"): Scope.REQUESTS_READ,
    ("POST", "/v1/deletion-requests/{request_id}:approve"): Scope.REQUESTS_APPROVE,
    ("POST", "/v1/deletion-requests/{request_id}:retry"): Scope.REQUESTS_APPROVE,
    ("POST", "/v1/deletion-requests/{request_id}:deny"): Scope.REQUESTS_APPROVE,
    ("POST", "/v1/deletion-requests/{request_id}:cancel"): Scope.REQUESTS_CREATE,
    ("POST", "/v1/models/{model}:repair"): Scope.MODELS_WRITE,
    ("POST", "/v1/models/{model}:qualify"): Scope.MODELS_WRITE,
    ("GET", "/v1/models/{model}/qualification"): Scope.MODELS_READ,
    ("GET", "/v1/deletion-requests/{request_id}/attempts"): Scope.REQUESTS_READ,
    ("POST", "/v1/deletion-requests/{request_id}:waive"): Scope.REQUESTS_APPROVE,
    ("GET", "/v1/jobs"): Scope.JOBS_READ,
    ("POST", "/v1/jobs/{job_id}:cancel"): Scope.MODELS_WRITE,
    ("GET", "/v1/jobs/{job_id}"): Scope.JOBS_READ,
    ("GET", "/v1/certificates"): Scope.CERTIFICATES_READ,
    ("GET", "/v1/certificates/{certificate_id}"): Scope.CERTIFICATES_READ,
    ("GET", "/v1/certificates/{certificate_id}/proof"): Scope.CERTIFICATES_READ,
    ("GET", "/v1/audit/entries"): Scope.AUDIT_READ,
    ("GET", "/v1/audit/checkpoint"): Scope.AUDIT_READ,
    ("GET", "/v1/audit/proofs/inclusion"): Scope.AUDIT_READ,
    ("GET", "/v1/audit/proofs/consistency"): Scope.AUDIT_READ,
    ("POST", "/v1/webhook-endpoints"): Scope.WEBHOOKS_MANAGE,
    ("GET", "/v1/webhook-endpoints"): Scope.WEBHOOKS_READ,
    ("GET", "/v1/webhook-endpoints/{endpoint_id}"): Scope.WEBHOOKS_READ,
    ("PATCH", "/v1/webhook-endpoints/{endpoint_id}"): Scope.WEBHOOKS_MANAGE,
    ("DELETE", "/v1/webhook-endpoints/{endpoint_id}"): Scope.WEBHOOKS_MANAGE,
    ("POST", "/v1/webhook-endpoints/{endpoint_id}:rotate-secret"): Scope.WEBHOOKS_MANAGE,
    ("POST", "/v1/webhook-endpoints/{endpoint_id}:test"): Scope.WEBHOOKS_MANAGE,
    ("GET", "/v1/webhook-endpoints/{endpoint_id}/deliveries"): Scope.WEBHOOKS_READ,
    ("POST", "/v1/webhook-deliveries/{delivery_id}:resend"): Scope.WEBHOOKS_MANAGE,
    ("POST", "/v1/api-keys"): Scope.KEYS_MANAGE,
    ("GET", "/v1/api-keys"): Scope.KEYS_MANAGE,
    ("DELETE", "/v1/api-keys/{key_id}"): Scope.KEYS_MANAGE,
}


@pytest.fixture(scope="module")
def built_doors(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("access")) as opened:
        world.built(opened)
        world.ask(opened, 5)
        world.drain(opened)
        yield opened


@pytest.fixture(scope="module")
def app(built_doors: Doors) -> FastAPI:
    return create_app(built_doors)


@pytest.fixture(scope="module")
def caller(built_doors: Doors, app: FastAPI) -> Iterator[TestClient]:
    with client(built_doors, app) as opened:
        yield opened


def test_the_tables_above_name_every_route_there_is(app: FastAPI) -> None:
    found = {
        (method, route.path_format): scope_of(route) for route in api_routes(app) for method in route.methods or ()
    }
    assert found == SCOPES | dict.fromkeys(OPEN | ANY_KEY)


@pytest.mark.parametrize(("method", "path"), sorted(SCOPES.keys() | ANY_KEY))
def test_without_a_key_a_route_answers_401(method: str, path: str, caller: TestClient) -> None:
    for value in ("", "Bearer lethe_nonsense", "Basic bmFtZTp3b3Jk"):
        answer = caller.request(method, path.replace("{", "").replace("}", ""), headers={"Authorization": value})
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), sorted(SCOPES))
def test_without_its_scope_a_key_gets_403_that_names_it(
    method: str, path: str, caller: TestClient, built_doors: Doors
) -> None:
    needed = SCOPES[method, path]
    lacking = key(built_doors, *set(Scope) - {needed})
    answer = caller.request(method, path.replace("{", "").replace("}", ""), headers=bearer(lacking))
    assert f"scope {needed}" in problem(answer, 403, "forbidden")["detail"]


@pytest.mark.parametrize(("method", "path"), sorted(SCOPES))
def test_with_its_scope_alone_a_key_gets_past_the_door(
    method: str, path: str, caller: TestClient, built_doors: Doors
) -> None:
    alone = key(built_doors, SCOPES[method, path])
    answer = caller.request(method, path.replace("{", "").replace("}", ""), headers=bearer(alone))
    assert answer.status_code not in {401, 403}


@pytest.mark.parametrize(("method", "path"), sorted(OPEN))
def test_what_lives_and_how_to_verify_it_is_told_to_anybody(method: str, path: str, caller: TestClient) -> None:
    assert caller.request(method, path, headers={"Authorization": ""}).status_code == 200


def test_a_key_gives_no_scope_that_it_has_not_and_ends_at_once_when_revoked(
    caller: TestClient, built_doors: Doors
) -> None:
    manager = bearer(key(built_doors, Scope.KEYS_MANAGE, Scope.JOBS_READ))
    order = {"name": "connector", "scopes": ["jobs:read"]}
    problem(caller.post("/v1/api-keys", json=order | {"scopes": ["audit:read"]}, headers=manager), 403, "forbidden")
    made = caller.post("/v1/api-keys", json=order, headers=manager).json()
    listed = caller.get("/v1/api-keys", headers=manager)
    assert made["id"] in [one["id"] for one in listed.json()["data"]]
    assert made["secret"] not in listed.text
    child = bearer(made["secret"])
    assert caller.get("/v1/whoami", headers=child).json()["scopes"] == ["jobs:read"]
    assert caller.delete(f"/v1/api-keys/{made['id']}", headers=manager).status_code == 204
    problem(caller.get("/v1/whoami", headers=child), 401, "unauthenticated")
    problem(caller.delete(f"/v1/api-keys/{made['id']}", headers=manager), 404, "api_key_not_found")


def test_another_tenants_things_do_not_exist(caller: TestClient, built_doors: Doors) -> None:
    stranger = bearer(key(built_doors, tenant=OTHER_TENANT))
    first = {
        noun: caller.get(f"/v1/{noun}?limit=1").json()["data"][0]["id"]
        for noun in ("datasets", "models", "deletion-requests", "jobs", "certificates", "api-keys")
    }
    version = caller.get("/v1/models/classifier/versions/serving").json()["id"]
    addresses = [f"/v1/{noun}/{name}" for noun, name in first.items() if noun != "api-keys"]
    addresses += ["/v1/datasets/pictures", "/v1/models/classifier", f"/v1/certificates/{first['certificates']}/proof"]
    addresses += [f"/v1/models/{first['models']}/{part}" for part in ("nodes", "versions", f"versions/{version}")]
    for address in addresses:
        assert caller.get(address).status_code == 200, address
        assert caller.get(address, headers=stranger).status_code == 404, address
    for decision in ("approve", "deny", "cancel", "retry"):
        address = f"/v1/deletion-requests/{first['deletion-requests']}:{decision}"
        problem(caller.post(address, headers=stranger), 404, "request_not_found")
    problem(caller.delete(f"/v1/api-keys/{first['api-keys']}", headers=stranger), 404, "api_key_not_found")
    problem(caller.get("/v1/audit/proofs/inclusion?index=0", headers=stranger), 404, "entry_not_found")


def test_another_tenants_lists_are_empty_and_its_requests_reach_nothing_here(
    caller: TestClient, built_doors: Doors
) -> None:
    stranger = bearer(key(built_doors, tenant="ten_third"))
    for noun in ("datasets", "models", "deletion-requests", "jobs", "certificates"):
        assert caller.get(f"/v1/{noun}", headers=stranger).json()["data"] == [], noun
    mine = {entry["index"] for entry in caller.get("/v1/audit/entries?limit=200").json()["data"]}
    theirs = {entry["index"] for entry in caller.get("/v1/audit/entries", headers=stranger).json()["data"]}
    assert theirs
    assert not mine & theirs
    looked = caller.post("/v1/deletion-requests:preview", json=subject(7), headers=stranger).json()
    assert (looked["records"], looked["models"]) == (0, [])
    for body in (
        subject(7) | {"scope": {"models": ["classifier"]}},
        {"subject": {"records": [{"dataset": "pictures", "record_ids": ["row-7-0"]}]}},
    ):
        assert caller.post("/v1/deletion-requests", json=body, headers=stranger | once()).status_code == 404
    order = {"name": "stolen", "dataset": "pictures", "recipe": {"shards": 2, "slices": 3}}
    problem(caller.post("/v1/models", json=order, headers=stranger), 404, "dataset_not_found")


def test_the_same_identity_and_key_of_two_tenants_are_two_requests(caller: TestClient, built_doors: Doors) -> None:
    stranger = bearer(key(built_doors, tenant=OTHER_TENANT))
    headers = {"Idempotency-Key": "shared-by-chance"}
    mine = caller.post("/v1/deletion-requests", json=subject(9), headers=headers).json()
    theirs = caller.post("/v1/deletion-requests", json=subject(9), headers=stranger | headers).json()
    assert mine["id"] != theirs["id"]
    assert mine["subject_references"] != theirs["subject_references"]
    assert theirs["related"] == []
    assert post_deletion(caller, 9)["related"] == [mine["id"]]


def test_a_caller_who_is_remembered_is_confirmed_by_each_request(doors: Doors) -> None:
    """Who posted before is not looked up before the body is read: then the transaction itself must ask."""
    world.built(doors, repair=False)
    secret = key(doors)
    with client(doors) as caller:

        def post(name: str, owner: int = 1) -> Any:
            headers = bearer(secret) | {"Idempotency-Key": name}
            return caller.post("/v1/deletion-requests", json=subject(owner), headers=headers)

        assert [post("first").status_code, post("second").status_code] == [202, 202]
        known = caller.app.state.acquaintances  # type: ignore[attr-defined]
        assert known.recall(secret).presumed
        caller.delete(f"/v1/api-keys/{'ak_' + secret.split('_')[1]}").raise_for_status()
        problem(post("third", owner=2), 401, "unauthenticated")
        problem(post("first"), 401, "unauthenticated")  # nor does a repeat get its answer
    with doors.database.transaction() as session:
        assert session.execute(select(func.count()).select_from(requests.requests)).scalar_one() == 2
        assert session.execute(select(func.count()).select_from(tenants.idempotency_keys)).scalar_one() == 2


def test_a_caller_is_remembered_for_a_while_only_and_never_by_the_key_itself() -> None:
    someone = access.Caller(tenant_id="ten_one", key_id="ak_one", scopes=frozenset())
    brief, known = Acquaintances(seconds=0.0), Acquaintances()
    for one in (brief, known):
        one.remember("lethe_secret", someone)
    assert brief.recall("lethe_secret") is None
    assert known.recall("lethe_secret") == replace(someone, presumed=True)
    assert known.recall("lethe_other") is None
    assert "secret" not in repr(vars(known))
    for number in range(2 * MOST):
        known.remember(f"lethe_{number}", someone)
    assert len(known._known) == MOST
