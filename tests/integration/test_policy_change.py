"""The policy by which a checkpoint is made to forget is changed while it serves; what runs keeps the one it was planned under."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from cli.models import app
from core.domain.access import Scope
from core.domain.job import Lane
from core.persistence import jobs
from core.use_cases.doors import Doors
from core.use_cases.plan_method import plan_method
from tests.integration import checkpoint_world, world
from tests.integration.callers import bearer, client, key, once, problem, service
from tests.servers.given import given_s3

NOTHING = {"method": "gradient_ascent", "settings": {"epochs": 1, "learning_rate": 1e-5}}
SCRUB = {"method": "scrub", "settings": {"epochs": 1}}


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A service with a checkpoint that learned nothing yet, and a model in exact mode that nobody builds."""
    root = tmp_path_factory.mktemp("policies")
    with service(server_url, template, root / "lethe", data_roots=str(root), **given_s3()) as found:
        checkpoint_world.add_datasets(found)
        checkpoint_world.add_checkpoint(
            found,
            checkpoint_world.write(root / "perceptron", checkpoint_world.network()),
            training=None,
            policy={"try_unqualified": True, "methods": [NOTHING]},
        )
        world.add_dataset(found)
        world.add_model(found, "exact")
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


def change(caller: TestClient, tag: str | None = None, model: str = "checkpoint", **fields: Any) -> Any:
    headers = {} if tag is None else {"If-Match": tag}
    return caller.patch(f"/v1/models/{model}", json={"policy": {"unlearning": fields}}, headers=headers)


def changes(caller: TestClient) -> list[dict[str, Any]]:
    found = caller.get("/v1/audit/entries", params={"action": "model.policy_changed"}).json()["data"]
    return [one["entry"] for one in found]


def test_a_policy_is_changed_under_if_match_and_what_is_left_out_stays(caller: TestClient) -> None:
    shown = caller.get("/v1/models/checkpoint")
    before, noted = shown.json()["policy"], len(changes(caller))
    answer = change(caller, shown.headers["etag"], drift_budget=0.05, most_cost=0.5)
    assert answer.status_code == 200, answer.text
    after = answer.json()["policy"]
    version = before["unlearning"]["version"]
    assert after["unlearning"] == before["unlearning"] | {
        "drift_budget": 0.05,
        "most_cost": 0.5,
        "version": version + 1,
    }
    assert caller.get("/v1/models/checkpoint").json() == answer.json()
    problem(change(caller, shown.headers["etag"], drift_budget=0.07), 412, "stale_row_version")
    again = change(caller, answer.headers["etag"], drift_budget=0.05)
    assert again.headers["etag"] == answer.headers["etag"], "what changes nothing is no change"
    [entry] = changes(caller)[noted:]
    assert (entry["from"], entry["to"]) == (before["digest"], after["digest"])
    assert entry["actor"]["kind"] == "client"


def test_the_next_request_is_planned_by_the_new_policy(caller: TestClient) -> None:
    people = {"identities": [{"identity_type": "email", "identity_value": checkpoint_world.person(70)}]}
    for method in ("l1_sparse", "fine_tune"):
        assert change(caller, methods=[{"method": method}], most_cost=1.0).status_code == 200
        seen = caller.post("/v1/deletion-requests:preview", json={"subject": people}).json()["models"][0]["plan"]
        assert [step["method"] for step in seen["steps"]] == [method]
        assert seen["policy"] == caller.get("/v1/models/checkpoint").json()["policy"]["digest"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"drift_budget": 2}, 400, "policy_refused"),
        ({"most_cost": -1}, 400, "policy_refused"),
        ({"oracles": 1}, 400, "policy_refused"),
        ({"methods": [{"method": "nop"}]}, 400, "policy_refused"),
        ({"methods": [{"method": "scrub", "settings": {"epochs": 0}}]}, 400, "policy_refused"),
        ({"methods": [{"method": "blindspot"}]}, 422, "method_needs_unmet"),
        ({"methods": [{"method": "retrain"}]}, 422, "method_needs_unmet"),
        ({"verification": {"name": "mine"}}, 400, "policy_refused"),
        ({"speed": 1}, 400, "policy_refused"),
        ({"version": 1, "drift_budget": 0.01}, 400, "policy_refused"),
    ],
)
def test_a_policy_that_will_not_do_is_refused_and_changes_nothing(
    caller: TestClient, fields: dict[str, Any], status: int, code: str
) -> None:
    before, noted = caller.get("/v1/models/checkpoint").json(), len(changes(caller))
    problem(change(caller, **fields), status, code)
    assert caller.get("/v1/models/checkpoint").json() == before
    assert len(changes(caller)) == noted


def test_another_name_begins_its_own_versions(caller: TestClient) -> None:
    assert change(caller, name="careful", drift_budget=0.02).json()["policy"]["unlearning"]["version"] == 1
    assert change(caller, drift_budget=0.03).json()["policy"]["unlearning"]["version"] == 2
    assert change(caller, version=9, drift_budget=0.04).json()["policy"]["unlearning"]["version"] == 9


def test_each_mode_has_policies_of_its_own(caller: TestClient) -> None:
    problem(change(caller, model="exact", drift_budget=0.05), 422, "wrong_mode")
    problem(caller.patch("/v1/models/checkpoint", json={"policy": {"repair": "off"}}), 422, "wrong_mode")
    problem(change(caller, model="nobody", drift_budget=0.05), 404, "model_not_found")
    wrong = caller.patch("/v1/models/checkpoint", json={"policy": {"unlearning": []}})
    assert problem(wrong, 422, "invalid_body")["errors"][0]["pointer"] == "/policy/unlearning"


def test_whoever_may_only_read_changes_no_policy(caller: TestClient, opened: Doors) -> None:
    headers = bearer(key(opened, Scope.MODELS_READ))
    fields = {"policy": {"unlearning": {"drift_budget": 0.06}}}
    problem(caller.patch("/v1/models/checkpoint", json=fields, headers=headers), 403, "forbidden")


def test_a_job_that_runs_ends_under_the_policy_it_began_with(caller: TestClient, opened: Doors) -> None:
    change(caller, methods=[NOTHING], drift_budget=0.5, try_unqualified=True)
    began = caller.get("/v1/models/checkpoint").json()["policy"]["digest"]
    asked = ask(caller, 71)
    with opened.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="slow", lease=60)
    assert job is not None
    first = plan_method(job, opened)
    change(caller, methods=[SCRUB, NOTHING], drift_budget=0.01)
    now = caller.get("/v1/models/checkpoint").json()["policy"]["digest"]
    again = plan_method(job, opened)
    assert first is not None
    assert again is not None
    assert first.policy.digest() == again.policy.digest() == began != now
    with opened.database.transaction() as session:
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
    world.drain(opened)
    assert tried(caller, asked) == ["gradient_ascent"]
    assert tried(caller, after := ask(caller, 72, opened)) == ["scrub", "gradient_ascent"]
    noted = caller.get("/v1/audit/entries", params={"action": "method.attempted", "limit": 200}).json()["data"]
    policies = {one["entry"]["refs"]["request"]: one["entry"]["refs"]["policy"] for one in noted}
    assert (policies[asked], policies[after]) == (began, now)
    assert "person-71@" not in str(noted) + str(changes(caller))


def test_the_command_changes_what_it_names(caller: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.models.connect", lambda _, __: Typed(caller))
    before = caller.get("/v1/models/checkpoint").json()
    options = ["--methods", "scrub,fine_tune", "--drift-budget", "0.2", "--no-try-unqualified", "--json"]
    done = CliRunner().invoke(app, ["set-unlearning", "checkpoint", *options, "--seen", str(before["row_version"])])
    assert done.exit_code == 0, done.output
    after = caller.get("/v1/models/checkpoint").json()["policy"]["unlearning"]
    assert [one["method"] for one in after["methods"]] == ["scrub", "fine_tune"]
    assert (after["drift_budget"], after["try_unqualified"]) == (0.2, False)
    assert after["most_cost"] == before["policy"]["unlearning"]["most_cost"]
    assert CliRunner().invoke(app, ["set-unlearning", "checkpoint"]).exit_code != 0, "it says nothing"


class Typed:
    """The client of a command, talking to the service of these tests."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the service's client open."""

    def patch(self, path: str, body: Any, *, seen: int | None = None) -> Any:
        answer = self.http.patch(path, json=body, headers={} if seen is None else {"If-Match": f'"{seen}"'})
        assert answer.status_code == 200, answer.text
        return answer.json()


def ask(caller: TestClient, person: int, doors: Doors | None = None) -> str:
    identities = [{"identity_type": "email", "identity_value": checkpoint_world.person(person)}]
    asked = caller.post("/v1/deletion-requests", json={"subject": {"identities": identities}}, headers=once())
    assert asked.status_code == 202, asked.text
    if doors is not None:
        world.drain(doors)
    return str(asked.json()["id"])


def tried(caller: TestClient, request: str) -> list[str]:
    return [one["method"] for one in caller.get(f"/v1/deletion-requests/{request}/attempts").json()["data"]]
