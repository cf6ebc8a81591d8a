"""What a method needs computed before is computed by the service, kept sealed, found again, and dies with what it was made from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from cli.serve import environment
from core.domain.checkpoint import Training
from core.domain.errors import KeyDestroyed, OvertakenByVersion
from core.domain.job import Lane
from core.faults import ATTRIBUTION_POINTS
from core.persistence import checkpoints, jobs
from core.use_cases.check_stores import check_stores
from core.use_cases.doors import Doors
from core.use_cases.finding import Finding, Severity
from core.use_cases.keep_attribution import with_artefacts
from core.use_cases.look_after import free_expired_jobs
from core.use_cases.open_desk import open_desk
from core.use_cases.plan_method import plan_method
from tests.integration import checkpoint_world, world
from tests.integration.callers import client, once, service
from tests.integration.test_checkpoints import verified
from tests.servers.given import given_s3

MATCHING = {"method": "datamodel_matching", "settings": {"epochs": 1}}
POLICY = {"try_unqualified": True, "retrain": False, "most_cost": 100, "methods": [], "oracles": 4, "canaries": 40}
BRIEF = Training(epochs=2, learning_rate=0.01, batch_size=64)


@pytest.fixture(scope="module")
def opened(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    root = tmp_path_factory.mktemp("attributions")
    with service(server_url, template, root / "lethe", data_roots=str(root), **given_s3()) as found:
        checkpoint_world.add_datasets(found)
        checkpoint_world.write(root / "perceptron", checkpoint_world.network())
        yield found


@pytest.fixture(scope="module")
def caller(opened: Doors) -> Iterator[TestClient]:
    with client(opened) as http:
        yield http


@pytest.fixture
def model(opened: Doors) -> str:
    """Return a checkpoint of its own for a test; nobody may retrain it or qualified its judge, so nothing is accepted."""
    directory = Path(opened.settings.data_roots) / "perceptron"
    name = f"checkpoint-{uuid4().hex[:8]}"
    checkpoint_world.add_checkpoint(opened, directory, name=name, policy=POLICY, training=BRIEF)
    return name


def ask(caller: TestClient, model: str, person: int) -> str:
    identities = [{"identity_type": "email", "identity_value": checkpoint_world.person(person)}]
    body = {"subject": {"identities": identities}, "unlearning": MATCHING, "scope": {"models": [model]}}
    asked = caller.post("/v1/deletion-requests", json=body, headers=once())
    assert asked.status_code == 202, asked.text
    return str(asked.json()["id"])


def waive(caller: TestClient, model: str, request: str) -> None:
    said = {"model": model, "reason": "risk_accepted"}
    answer = caller.post(f"/v1/deletion-requests/{request}:waive", json=said)
    assert answer.status_code == 200, answer.text


def tried(caller: TestClient, request: str) -> dict[str, Any]:
    """Return a request's latest attempt."""
    found: list[dict[str, Any]] = caller.get(f"/v1/deletion-requests/{request}/attempts").json()["data"]
    assert found[-1]["failure"] is None, found
    return found[-1]


def attribution(caller: TestClient, request: str) -> dict[str, Any]:
    found: dict[str, Any] = tried(caller, request)["cost"]["attribution"]
    return found


def kept(doors: Doors, model: str) -> list[dict[str, Any]]:
    with doors.database.transaction() as session:
        rows = checkpoints.attributions_of(session, world.model_of(doors, model)["id"])
    return [row.attribution for row in rows]


def flaws(doors: Doors, *known: dict[str, Any]) -> list[Finding]:
    """Return what is wrong with the stores, and whatever is said of these attributions."""
    ours = {one[name] for one in known for name in ("key_id", "object_digest")}
    with doors.database.transaction() as session:
        return [one for one in check_stores(session, doors) if one.severity is Severity.ERROR or one.object in ours]


def test_a_named_method_has_its_attribution_computed_kept_and_used_again(
    opened: Doors, caller: TestClient, model: str
) -> None:
    first, again, other = ask(caller, model, 3), ask(caller, model, 3), ask(caller, model, 4)
    world.drain(opened)
    for request in (first, again, other):
        found = caller.get(f"/v1/deletion-requests/{request}").json()
        assert (found["state"], found["wait_reason"]) == ("needs_attention", "judgement_refused")
        assert tried(caller, request)["why_accepted_or_not"] == "the_judge_did_not_pass_it"
    costs = [attribution(caller, request) for request in (first, again, other)]
    assert [one["reused"] for one in costs] == [False, True, False]
    assert costs[0]["inputs"] == costs[1]["inputs"] != costs[2]["inputs"]
    assert costs[0]["flops"] > 0
    assert costs[0]["retrain_share"] > 0, "what it cost is told apart from what the method cost"
    assert tried(caller, first)["cost"]["flops"] == tried(caller, again)["cost"]["flops"]
    left = kept(opened, model)
    assert len(left) == 2, "the second run found the first one's"
    assert flaws(opened, *left) == []
    opened.store.delete(left[0]["object_digest"])
    assert {one.code for one in flaws(opened)} == {"object_missing"}, "what is kept is looked after"
    asked = ask(caller, model, 3)
    world.drain(opened)
    assert attribution(caller, asked)["reused"] is False, "what is lost is computed again"
    waive(caller, model, asked)
    world.drain(opened)
    assert flaws(opened) == []


def test_when_the_version_is_replaced_every_attribution_dies_and_the_next_is_of_the_rows_that_are_left(
    opened: Doors, caller: TestClient, model: str
) -> None:
    first, other = ask(caller, model, 5), ask(caller, model, 6)
    world.drain(opened)
    before = kept(opened, model)
    assert len(before) == 2
    waive(caller, model, first)
    world.drain(opened)
    done = caller.get(f"/v1/deletion-requests/{first}").json()
    assert done["state"] == "completed"
    assert kept(opened, model) == []
    for one in before:
        with pytest.raises(KeyDestroyed):
            opened.keys.get(one["key_id"])
        assert not opened.store.exists(one["object_digest"])
    told = verified(caller, done["certificates"][0]["id"])
    assert told.failures == []
    old = attribution(caller, other)
    assert caller.post(f"/v1/deletion-requests/{other}:retry", headers=once()).status_code == 200
    world.drain(opened)
    new = attribution(caller, other)
    assert (new["reused"], new["inputs"] == old["inputs"]) == (False, False)
    assert [one["account"]["inputs"] for one in kept(opened, model)] == [new["inputs"]]


def test_what_was_computed_from_a_version_that_is_not_served_any_more_is_not_kept(
    opened: Doors, caller: TestClient, model: str
) -> None:
    asked = ask(caller, model, 7)
    with opened.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="slow", lease=60)
    assert job is not None
    run = plan_method(job, opened)
    assert run is not None
    keys = set(opened.keys.list_ids())
    late = replace(run, base=SimpleNamespace(id="ver_of_before"))  # type: ignore[arg-type]
    with pytest.raises(OvertakenByVersion):
        with_artefacts(opened, late, open_desk(opened, run).task(), "datamodel_matching")
    assert kept(opened, model) == []
    assert set(opened.keys.list_ids()) == keys, "the key that it was sealed under is gone"
    with opened.database.transaction() as session:
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
    world.drain(opened)
    assert attribution(caller, asked)["reused"] is False


@pytest.mark.parametrize("point", ATTRIBUTION_POINTS)
def test_a_worker_killed_around_an_attribution_leaves_none_that_nobody_knows_of(
    opened: Doors, caller: TestClient, model: str, tmp_path: Path, point: str
) -> None:
    asked = ask(caller, model, 8)
    with opened.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="doomed", lease=60)
    assert job is not None
    fault = tmp_path / "fault"
    fault.write_text(point)
    code = (
        "from core.settings import Settings; from core.use_cases.doors import open_doors\n"
        "from core.use_cases.run_computation import run_computation\n"
        f"run_computation({job.id!r}, {job.fence}, doors=open_doors(Settings()))"
    )
    settings = environment(opened.settings) | {"LETHE_FAULT_FILE": str(fault)}
    died = subprocess.run([sys.executable, "-c", code], env=os.environ | settings, check=False)
    assert died.returncode == -signal.SIGKILL
    with opened.database.transaction() as session:
        session.execute(jobs.jobs.update().values(lease_until=jobs.soon(-1)))
    assert free_expired_jobs(opened) == 1
    world.drain(opened)
    assert attribution(caller, asked)["reused"] is (point == "after_attribution_kept")
    assert len(kept(opened, model)) == 1


def test_a_qualification_computes_what_a_ranked_method_needs(opened: Doors, caller: TestClient, model: str) -> None:
    change = {"policy": {"unlearning": {"methods": [MATCHING]}}}
    assert caller.patch(f"/v1/models/{model}", json=change).status_code == 200
    assert caller.post(f"/v1/models/{model}:qualify", headers=once()).status_code == 202
    world.drain(opened)
    found = caller.get(f"/v1/models/{model}/qualification").json()
    assert found["account"]["judgements"]["datamodel_matching"]["findings"], found["methods"]
