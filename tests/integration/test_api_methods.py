"""The menu over HTTP: every card as documented, found by name or alias, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.schemas.methods import ShownMethod
from core.methods.menu import MENU
from core.use_cases.doors import Doors
from tests.integration.callers import client, service
from tests.integration.test_api_documentation import unknown


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("methods")) as found:
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def test_the_menu_is_listed_in_order_and_as_documented(caller: TestClient) -> None:
    body = caller.get("/v1/methods").json()
    assert [one["name"] for one in body["data"]] == list(MENU)
    assert body["has_more"] is False
    for one in body["data"]:
        ShownMethod.model_validate(one)
        assert list(unknown(one, ShownMethod)) == []


def test_a_modality_narrows_it(caller: TestClient) -> None:
    found = caller.get("/v1/methods", params={"modality": "causal_language_model"}).json()["data"]
    assert "representation_misdirection" in {one["name"] for one in found}
    assert "blindspot" not in {one["name"] for one in found}
    assert caller.get("/v1/methods", params={"modality": "graph"}).status_code in (400, 422)


def test_a_card_is_found_by_name_or_alias(caller: TestClient) -> None:
    by_name, by_alias = caller.get("/v1/methods/negative_preference").json(), caller.get("/v1/methods/npo").json()
    assert by_name == by_alias
    [beta] = [one for one in by_name["settings"] if one["name"] == "beta"]
    assert (beta["type"], beta["exclusive_minimum"], beta["maximum"]) == ("number", 0, 100)


def test_an_unknown_method_is_not_found(caller: TestClient) -> None:
    answer = caller.get("/v1/methods/nop")
    assert answer.status_code == 404
    assert answer.json()["code"] == "method_not_found"
