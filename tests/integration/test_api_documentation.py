"""The OpenAPI document: complete, resolvable, with examples that work, and true to what is really answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from api.schemas import answers, common
from api.schemas.datasets import DatasetBody
from api.schemas.deletions import DeletionRequestBody
from api.schemas.models import ModelBody
from api.schemas.plans import PlanBody
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import client, post_deletion, service, subject
from tests.integration.test_api_access import SCOPES
from worker.predictor import PredictionAnswer, PredictionBody, create_predictor


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("documentation")) as found:
        world.built(found)
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        post_deletion(http, 5)
        world.drain(opened)
        yield http


@pytest.fixture(scope="module")
def document(caller: TestClient) -> dict[str, Any]:
    described: dict[str, Any] = caller.get("/openapi.json", headers={"Authorization": ""}).json()
    return described


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(item)


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for part in parts(document):
        if "$ref" in part:
            found: Any = document
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            assert len(part) == 1 or set(part) <= {"$ref", "default", "description", "examples", "title"}
    for _, path, operation in operations(document):
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert operation["summary"]
        assert operation["tags"]


@pytest.mark.parametrize("kind", ["api", "predictor"])
def test_every_guarded_operation_documents_its_key_and_its_problems(
    document: dict[str, Any], kind: str, opened: Doors
) -> None:
    described = document if kind == "api" else create_predictor(opened).openapi()
    for method, path, operation in operations(described):
        if not path.startswith("/v1"):
            continue
        assert operation["security"] == [{"HTTPBearer": []}], path
        assert {"400", "401", "403", "404", "409", "422", "503"} <= set(operation["responses"]), path
        conditional = "If-Match" in {one["name"] for one in operation.get("parameters", [])}
        assert ("412" in operation["responses"]) is conditional, path
        for status, response in operation["responses"].items():
            if status >= "400":
                reference = {"$ref": "#/components/schemas/Problem"}
                assert response["content"] == {"application/problem+json": {"schema": reference}}, (path, status)
        if (method, path) in SCOPES:
            assert operation["x-required-scope"] == SCOPES[method, path]
    assert "Problem" in described["components"]["schemas"]
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_every_list_and_resource_says_what_it_answers_with(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if not path.startswith("/v1") or method == "DELETE":
            continue
        success = next(value for status, value in operation["responses"].items() if status < "300")
        [(kind, content)] = [one for one in success["content"].items() if one[0] != "application/json"] or [
            ("application/json", success["content"].get("application/json"))
        ]
        if kind == "application/json":
            # A model is one of two kinds, told apart by its mode.
            either = content["schema"].get("anyOf", content["schema"].get("oneOf", [content["schema"]]))
            assert all("$ref" in one for one in either), path
    form = document["paths"]["/v1/datasets:upload"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"name", "schema", "file", "images", "owners"} <= set(form["schema"]["properties"])


def examples(model: type[BaseModel]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model.model_json_schema().get("examples", [])
    return found


@pytest.mark.parametrize("model", [DeletionRequestBody, DatasetBody, ModelBody, PlanBody, PredictionBody])
def test_the_main_bodies_have_examples_that_fit(model: type[BaseModel]) -> None:
    assert examples(model)
    for example in examples(model):
        model.model_validate(example)


def test_the_example_of_a_deletion_request_works_as_it_stands(caller: TestClient) -> None:
    [example] = examples(DeletionRequestBody)
    answer = caller.post("/v1/deletion-requests", json=example, headers={"Idempotency-Key": "example"})
    assert answer.status_code == 202, answer.text


def unknown(value: Any, model: Any, place: str = "") -> Iterator[str]:
    """Yield every field of an answer that its model does not name."""
    if isinstance(value, list):
        for item in value:
            yield from unknown(item, get_args(model)[0] if get_args(model) else model, place + "[]")
    if not isinstance(value, dict):
        return
    options = [one for one in (model, *get_args(model)) if isinstance(one, type) and issubclass(one, BaseModel)]
    if not options or get_origin(model) is dict:
        return
    fields = {field.alias or name: field.annotation for name, field in options[0].model_fields.items()}
    for name, item in value.items():
        if name not in fields:
            yield f"{place}/{name}"
        else:
            yield from unknown(item, fields[name], f"{place}/{name}")


RESOURCES: dict[str, type[BaseModel]] = {
    "/v1/deletion-requests": common.Page[answers.DeletionRequest],
    "/v1/jobs": common.Page[answers.Job],
    "/v1/certificates": common.Page[answers.Certificate],
    "/v1/models": common.Page[answers.Model],
    "/v1/models/classifier": answers.Model,
    "/v1/models/classifier/nodes": common.Page[answers.Node],
    "/v1/models/classifier/versions": common.Page[answers.Version],
    "/v1/models/classifier/versions/serving": answers.FullVersion,
    "/v1/datasets": common.Page[answers.Dataset],
    "/v1/datasets/pictures": answers.Dataset,
    "/v1/audit/entries": common.Page[answers.LogEntry],
    "/v1/audit/proofs/inclusion?index=1": answers.InclusionProof,
    "/v1/audit/proofs/consistency?from=1": answers.ConsistencyProof,
    "/v1/api-keys": common.Page[answers.ApiKey],
    "/v1/whoami": answers.WhoAmI,
    "/v1/models/nobody": common.Problem,
}


@pytest.mark.parametrize(("address", "model"), RESOURCES.items(), ids=RESOURCES)
def test_an_answer_has_the_fields_that_are_documented_and_no_others(
    caller: TestClient, address: str, model: type[BaseModel]
) -> None:
    body = caller.get(address).json()
    model.model_validate(body)
    assert list(unknown(body, model)) == []
    assert {field.alias or name for name, field in model.model_fields.items() if field.is_required()} <= set(body)


def test_receipts_previews_jobs_and_keys_have_the_fields_that_are_documented(caller: TestClient) -> None:
    job = caller.get("/v1/jobs?limit=1").json()["data"][0]["id"]
    looked = caller.post("/v1/deletion-requests:preview", json=subject(7)).json()
    made = caller.post("/v1/api-keys", json={"name": "x", "scopes": ["jobs:read"]}).json()
    for body, model in (
        (post_deletion(caller, 6), answers.Receipt),
        (caller.get(f"/v1/jobs/{job}").json(), answers.FullJob),
        (looked, answers.Preview),
        (made, answers.NewApiKey),
    ):
        model.model_validate(body)
        assert list(unknown(body, model)) == []
    assert set(PredictionAnswer.model_fields) == {"model", "manifest", "degraded", "predictions"}
