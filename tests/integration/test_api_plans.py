"""Plans over HTTP, and registering each family: what is answered, warned of and refused."""

from __future__ import annotations

from collections.abc import Iterator
from threading import BoundedSemaphore
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.schemas import plans
from core.domain.access import Scope
from core.domain.model import FamilyName
from core.use_cases import plan_lattice, register_model
from core.use_cases.doors import Doors
from tests.integration import world
from tests.integration.callers import bearer, client, key, problem, service
from tests.integration.test_api_documentation import examples, unknown

BODY: dict[str, Any] = {"shards": 5, "slices": 4, "family": "cyclic"}
RECIPE: dict[str, Any] = {
    "shards": 2,
    "slices": 3,
    "backbone": {"width": 8, "layers": 6, "heads": 2, "patch": 2, "epochs": 1, "batch_size": 8},
    "node": {"rank": 2, "alpha": 4.0, "epochs": 1, "batch_size": 4},
}
PRIOR = {"family": "prior", "family_prior": [5, 1, 2], "family_rule": "cold_first", "family_budget": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "chain": {"family": "chain"},
    "cyclic": {"family": "cyclic", "family_budget": 5},
    "prior": PRIOR,
    "matching": PRIOR | {"family_rule": "matching", "family_horizon": 100},
    "subset-trie": {"family": "subset_trie"},
    "greedy-trie": {"family": "greedy_trie", "family_prior": [5, 1, 2], "family_budget": 9},
}


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with service(server_url, template, tmp_path_factory.mktemp("plans")) as found:
        world.add_dataset(found)
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def register(caller: TestClient, name: str, recipe: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = caller.post("/v1/models", json={"name": name, "dataset": "pictures", "recipe": RECIPE | recipe} | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_plan_answers_in_plain_numbers_and_as_documented(caller: TestClient) -> None:
    answer = caller.post("/v1/plans", json=BODY | {"repair_every": 5, "repair_budget": 2.8})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    plans.ShownPlan.model_validate(body)
    assert list(unknown(body, plans.ShownPlan)) == []
    assert body["object"] == "plan"
    assert body["deletions_to_first_dead"] == pytest.approx(19.3, abs=0.05)
    assert body["deletions_to_all_dead"] == pytest.approx(72.0, abs=0.05)
    assert body["repair"]["active_share_after_hit"] > 0.58
    assert body["warnings"] == []
    assert caller.post("/v1/plans", json=BODY | {"repair_every": 5, "repair_budget": 2.8}).json() == body


def test_its_example_works_as_it_stands(caller: TestClient) -> None:
    [example] = examples(plans.PlanBody)
    assert caller.post("/v1/plans", json=example).status_code == 200


def test_a_plan_holds_a_target_against_the_lattice(caller: TestClient) -> None:
    body = caller.post("/v1/plans", json=BODY | {"target": {"deletions": 40, "active_share": 0.5}}).json()
    assert "12% of the slices" in body["warnings"][0]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"shards": 0}, 400, "bad_input"),
        ({"slices": 65}, 400, "bad_input"),
        ({"slices": 0}, 400, "bad_input"),
        ({"family": "subset_trie", "slices": 11}, 400, "bad_input"),
        ({"family_prior": [1, 2, 3, 4]}, 400, "bad_input"),
        ({"hits": {"kind": "skewed"}}, 400, "bad_input"),
        ({"hits": {"kind": "skewed", "skew": 1, "weights": [1, 1, 1, 1]}}, 400, "bad_input"),
        ({"target": {"deletions": 0}}, 400, "bad_input"),
        ({"deletions": 10**9}, 400, "bad_input"),
        ({"family": "nonsense"}, 422, "invalid_body"),
        ({"hits": {"kind": "nonsense"}}, 422, "invalid_body"),
        ({"shard": 5}, 422, "invalid_body"),
    ],
)
def test_what_cannot_be_planned_is_refused(caller: TestClient, change: dict[str, Any], status: int, code: str) -> None:
    problem(caller.post("/v1/plans", json=BODY | change), status, code)


@pytest.mark.parametrize(
    "change",
    [
        {"shards": 1024, "slices": 8, "hits": {"kind": "owner", "records_per_owner": 1000}, "repair_budget": 1e6},
        {"shards": 1024, "slices": 64, "deletions": 100_000, "repair_every": 100_000},
        {"shards": 32, "slices": 10, "family": "subset_trie", "target": {"deletions": 9, "repair_budget": 1e6}}
        | {"hits": {"kind": "owner", "records_per_owner": 1000}},
    ],
)
def test_a_plan_that_would_occupy_the_service_is_refused_in_words(caller: TestClient, change: dict[str, Any]) -> None:
    refused = problem(caller.post("/v1/plans", json=BODY | change), 422, "plan_too_large")
    assert "ask about fewer shards, slices, deletions or records per owner" in refused["detail"]


def test_a_target_that_takes_too_much_to_check_is_refused_before_anything_is_registered(
    caller: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_model, "MOST_STEPS", 1000)
    body = {"name": "heavy", "dataset": "pictures", "recipe": RECIPE, "target": {"deletions": 9, "repair_budget": 50}}
    problem(caller.post("/v1/models", json=body), 422, "plan_too_large")
    problem(caller.get("/v1/models/heavy"), 404, "model_not_found")


def test_only_a_few_plans_are_made_at_once_and_the_next_one_finds_a_turn_again(
    caller: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem(
        caller.post("/v1/plans", json=BODY | {"shards": 1024, "deletions": 100_000, "slices": 64}),
        422,
        "plan_too_large",
    )
    assert caller.post("/v1/plans", json=BODY).status_code == 200  # a refused one gave its turn back
    taken = BoundedSemaphore(1)
    taken.acquire()
    monkeypatch.setattr(plan_lattice, "_turns", taken)
    answer = caller.post("/v1/plans", json=BODY)
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_plan_needs_a_key_that_may_read_models(caller: TestClient, opened: Doors) -> None:
    problem(caller.post("/v1/plans", json=BODY, headers={"Authorization": ""}), 401, "unauthenticated")
    jobs_only = bearer(key(opened, Scope.JOBS_READ))
    problem(caller.post("/v1/plans", json=BODY, headers=jobs_only), 403, "forbidden")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_registered_built_and_survives_a_deletion(caller: TestClient, opened: Doors, name: str) -> None:
    chosen = FAMILIES[name]
    made = register(caller, name, chosen)
    assert made["warnings"] == []
    assert {field: made["recipe"][field] for field in chosen} == chosen
    world.drain(opened)
    live = caller.get(f"/v1/models/{name}").json()
    assert (live["state"], live["serving"]["depths"]) == ("live", [3, 3])
    assert live["nodes"]["live"] == live["nodes"]["complete"]
    assert {field: live["recipe"][field] for field in chosen} == chosen


def test_after_a_deletion_every_family_comes_back_to_full_depth(caller: TestClient, opened: Doors) -> None:
    assert caller.get("/v1/models").json()["data"]
    world.ask(opened, 5)
    world.drain(opened)
    for model in caller.get("/v1/models").json()["data"]:
        assert model["serving"]["depths"] == [3, 3], model["name"]
        assert model["serving"]["guarantee"] == "retrain_equivalent", model["name"]


@pytest.mark.parametrize(("slices", "family"), [(3, "subset_trie"), (6, "greedy_trie")])
def test_without_a_family_the_one_that_pays_is_chosen(caller: TestClient, slices: int, family: str) -> None:
    made = register(caller, f"default-{slices}", {"slices": slices, "shards": 1})
    assert made["recipe"]["family"] == family
    assert family in set(FamilyName)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "prior", "family_prior": [1, 2]},
        {"family": "prior", "family_prior": [1, 0, 1]},
        {"family": "cyclic", "family_prior": [1, 1, 1]},
        {"family": "cyclic", "family_budget": 7},
        {"family": "greedy_trie", "family_budget": 5},
        {"family": "subset_trie", "family_rule": "matching"},
        {"family": "prior", "family_horizon": 10},
    ],
)
def test_parameters_that_do_not_fit_the_family_are_refused(caller: TestClient, change: dict[str, Any]) -> None:
    body = {"name": "refused", "dataset": "pictures", "recipe": RECIPE | change}
    refused = problem(caller.post("/v1/models", json=body), 400, "bad_input")
    assert "the recipe does not hold together" in refused["detail"]


def test_a_lattice_that_cannot_meet_its_target_is_registered_with_a_warning(caller: TestClient) -> None:
    made = register(caller, "warned", {"family": "chain"}, target={"deletions": 10, "active_share": 0.9})
    assert len(made["warnings"]) == 2
    assert "the target is 90%" in made["warnings"][0]
    unrepaired = register(caller, "unrepaired", {"family": "chain"}, policy={"repair": False})
    assert "without repair the first shard" in unrepaired["warnings"][0]
    assert register(caller, "content", {}, target={"deletions": 1, "active_share": 0.5})["warnings"] == []
    body = {"name": "refused", "dataset": "pictures", "recipe": RECIPE, "target": {"deletions": 0}}
    problem(caller.post("/v1/models", json=body), 400, "bad_input")
