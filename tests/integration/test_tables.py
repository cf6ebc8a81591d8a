"""Tables through the whole service: uploaded, learned, asked about by column, forgotten, and degraded."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.audit.certificate import Limitation
from core.use_cases.doors import Doors
from core.use_cases.read_certificates import read_certificate
from tests.integration import table_world, world
from tests.integration.callers import CANARY, client, problem
from tests.integration.table_world import QUESTION
from tests.integration.test_predictor import predicting, wait_for, without_gaps

BODY: dict[str, Any] = {"model": "classifier", "inputs": [QUESTION, {**QUESTION, "age": 7, "pressure": 91.5}]}


def upload(caller: TestClient, schema: Any, content: bytes, name: str = "patients") -> Any:
    form = {"name": name, "schema": json.dumps(schema)}
    return caller.post("/v1/datasets:upload", data=form, files={"file": ("table", content)})


def test_a_table_is_uploaded_with_its_contract_and_shown_with_it(doors: Doors) -> None:
    schema = table_world.make_schema().as_json()
    with client(doors) as caller:
        for number, content in enumerate((table_world.table(), gzip.compress(table_world.table()))):
            made = upload(caller, schema, content, f"patients-{number}")
            assert made.status_code == 201, made.text
            assert (made.json()["records"], made.json()["owners"]) == (60, world.OWNERS)
            assert made.json()["schema"] == schema
        # What is shown can be sent again.
        again = upload(caller, made.json()["schema"], content, "again")
        assert again.status_code == 201, again.text


def test_a_bad_cell_is_named_by_row_and_column(doors: Doors) -> None:
    lines = table_world.table().decode().splitlines()
    lines[15] = lines[15].replace(",f,", f",{CANARY},").replace(",m,", f",{CANARY},")
    with client(doors) as caller:
        answer = upload(caller, table_world.make_schema().as_json(), "\n".join(lines).encode())
    body = problem(answer, 400, "rows_refused")
    assert [(one["pointer"], one["code"]) for one in body["errors"]] == [("row 14, column sex", "unknown_category")]
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "canaryperson"}, "/schema"),
        ({"kind": 7}, "/schema"),
        ({"features": [{"name": "age", "minimum": 0}]}, "/schema/features/0/maximum"),
        ({"features": [{"name": "sex", "categories": "f"}]}, "/schema/features/0/categories"),
        ({"target": {"column": "outcome", "labels": [1]}}, "/schema/target/labels/0"),
        ({"target": {"column": "score"}}, "/schema/target/minimum"),
        ({"canaryperson": 1}, "/schema/(unknown field)"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused_by_field(doors: Doors, change: dict[str, Any], pointer: str) -> None:
    schema = table_world.make_schema().as_json() | change
    with client(doors) as caller:
        answer = upload(caller, schema, table_world.table())
    assert pointer in {one["pointer"] for one in problem(answer, 422, "invalid_body")["errors"]}
    assert "canaryperson" not in answer.text


def test_a_contract_that_contradicts_itself_is_refused_in_a_sentence(doors: Doors) -> None:
    schema = table_world.make_schema().as_json() | {"owners_column": "age"}
    with client(doors) as caller:
        answer = problem(upload(caller, schema, table_world.table()), 400, "bad_input")
    assert "column names must differ" in answer["detail"]


def test_an_image_data_set_still_needs_public_rows_and_a_table_does_not(doors: Doors) -> None:
    table_world.add_dataset(doors, public=False)
    model = world.add_model(doors, dataset="patients")
    assert world.model_of(doors, model)["backbone"] is None
    world.drain(doors)
    assert world.model_of(doors, model)["backbone"] == {"source": "chance", "records": 0}


def test_a_classifier_answers_named_columns_with_labels_and_probabilities(doors: Doors) -> None:
    table_world.add_dataset(doors)
    model = world.add_model(doors, dataset="patients")
    world.drain(doors)
    assert world.model_of(doors, model)["backbone"] == {"source": "public_rows", "records": world.PUBLIC}
    with predicting(doors) as caller:
        wait_for(lambda: caller.post("/v1/predict", json=BODY).status_code == 200)
        answer = caller.post("/v1/predict", json=BODY).json()
        assert [one.keys() for one in answer["predictions"]] == [{"label", "probability"}] * 2
        assert {one["label"] for one in answer["predictions"]} <= {"well", "ill"}
        alone = caller.post("/v1/predict", json=BODY | {"inputs": BODY["inputs"][1:]}).json()
        assert alone["predictions"] == answer["predictions"][1:]
        refused = caller.post("/v1/predict", json=BODY | {"inputs": [{**QUESTION, "sex": CANARY}]})
        assert problem(refused, 400, "bad_input")["errors"][0]["pointer"] == "row 0, column sex"
        assert CANARY not in refused.text


@pytest.mark.parametrize("public", [True, False], ids=["public rows", "no public row"])
def test_a_regression_answers_numbers_follows_a_deletion_and_says_when_it_is_degraded(
    doors: Doors, *, public: bool
) -> None:
    table_world.add_dataset(doors, "number", public=public)
    model = world.add_model(doors, dataset="patients", repair=False, placement_key=without_gaps(doors))
    world.drain(doors)
    with predicting(doors) as caller:
        wait_for(lambda: caller.post("/v1/predict", json=BODY).status_code == 200)
        before = caller.post("/v1/predict", json=BODY).json()
        assert all(0 <= one["value"] <= 200 for one in before["predictions"])
        receipt = world.ask(doors, *range(world.OWNERS))
        world.deactivate(doors)
        wait_for(lambda: caller.post("/v1/predict", json=BODY).json()["degraded"])
        degraded = caller.post("/v1/predict", json=BODY).json()
        if not public:  # the head of a backbone that learned nothing is silent
            assert [one["value"] for one in degraded["predictions"]] == [100.0, 100.0]
        wait_for(lambda: not world.deactivate(doors) and world.request_of(doors, receipt["id"])["state"] == "completed")
    named = world.request_of(doors, receipt["id"])["certificates"][0]["id"]
    statement = json.loads(b64decode(json.loads(read_certificate(named, caller=world.ADMIN, doors=doors))["payload"]))
    listed = statement["predicate"]["limitations"]
    assert (Limitation.BACKBONE_LEARNED_NOTHING in listed) is not public
    assert (Limitation.BACKBONE_NOT_COVERED in listed) is public
    assert world.model_of(doors, model)["serving"]["degraded"]
