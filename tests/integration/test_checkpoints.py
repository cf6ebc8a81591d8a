"""Checkpoints through the whole service: registered, made to forget, judged, replaced, certified and verified offline."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from starlette.testclient import TestClient

from cli.serve import environment
from core.audit.verify import verify_certificate
from core.domain.errors import KeyDestroyed, StoreUnavailable
from core.domain.job import Lane
from core.faults import METHOD_POINTS
from core.persistence import checkpoints, jobs
from core.unlearning.approximate.unlearn import order_for, unlearn
from core.use_cases import attempt_method
from core.use_cases.doors import Doors
from core.use_cases.look_after import free_expired_jobs
from core.use_cases.run_computation import run_computation
from core.verification.policy import CLASSIFIER
from tests.integration import checkpoint_world, world
from tests.integration.callers import client, once, problem
from tests.integration.test_predictor import predicting, wait_for


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return checkpoint_world.write(tmp_path / "checkpoints" / "perceptron", checkpoint_world.trained())


@pytest.fixture
def allowed(doors: Doors, tmp_path: Path) -> Doors:
    """Return the doors of a service that may read checkpoints below this test's directory."""
    object.__setattr__(doors.settings, "data_roots", str(tmp_path))
    checkpoint_world.add_datasets(doors)
    return doors


def body(directory: Path, **said: Any) -> dict[str, Any]:
    return {
        "name": "checkpoint",
        "mode": "approximate",
        "dataset": "visits",
        "evaluation": "unseen",
        "directory": str(directory),
        "architecture": {"kind": "perceptron", "hidden": list(checkpoint_world.HIDDEN)},
        "training": {"epochs": 40, "learning_rate": 0.01, "batch_size": 64},
    } | said


def registered(caller: TestClient, doors: Doors, directory: Path, **said: Any) -> dict[str, Any]:
    answer = caller.post("/v1/models", json=body(directory, **said))
    assert answer.status_code == 201, answer.text
    world.drain(doors)
    found: dict[str, Any] = caller.get("/v1/models/checkpoint").json()
    assert found["state"] == "live", found
    return found


def forget(caller: TestClient, doors: Doors, *people: int, **said: Any) -> dict[str, Any]:
    identities = [{"identity_type": "email", "identity_value": checkpoint_world.person(one)} for one in people]
    asked = caller.post("/v1/deletion-requests", json={"subject": {"identities": identities}} | said, headers=once())
    assert asked.status_code == 202, asked.text
    assert caller.get("/v1/models/checkpoint").json()["serving"]["flagged"] is True
    world.drain(doors)
    found: dict[str, Any] = caller.get(f"/v1/deletion-requests/{asked.json()['id']}").json()
    return found


def verified(caller: TestClient, certificate: str) -> Any:
    return verify_certificate(
        caller.get(f"/v1/certificates/{certificate}").content,
        caller.get(f"/v1/certificates/{certificate}/proof").content,
        caller.get("/.well-known/lethe.vkey").text.split(),
    )


def test_a_checkpoint_is_registered_and_shown_with_what_it_promises(allowed: Doors, directory: Path) -> None:
    with client(allowed) as caller:
        found = registered(caller, allowed, directory)
    assert found["mode"] == "approximate"
    assert found["serving"]["guarantee"] == "as_registered"
    assert found["serving"]["flagged"] is False
    assert found["recipe"]["architecture"]["inputs"] == [checkpoint_world.FEATURES]


def test_without_a_qualified_judge_a_deletion_ends_in_a_retrain_and_says_why(allowed: Doors, directory: Path) -> None:
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        done = forget(caller, allowed, *range(3))
        assert done["state"] == "completed", attempts(caller, done)
        found = caller.get("/v1/models/checkpoint").json()
        assert (found["serving"]["guarantee"], found["serving"]["number"]) == ("retrained", 2)
        assert found["serving"]["flagged"] is False
        assert found["deleted_records"] == 3 * checkpoint_world.EACH
        [certificate] = done["certificates"]
        verdict = verified(caller, certificate["id"])
    assert verdict.failures == []
    assert any("Made by retrain" in sentence for sentence in verdict.asserted)


VERIFICATION = {
    **CLASSIFIER.as_json(),
    "name": "small_world",
    "request_margins": {
        "comparability": 0.15,
        "forget_confidence": 0.07,
        "membership": 0.2,
        "representation": 0.25,
        "retain_accuracy": 0.15,
        "test_accuracy": 0.1,
    },
}
TUNED = {"method": "l1_sparse", "settings": {"epochs": 25, "learning_rate": 0.01, "sparsity": 0.002}}
NOTHING = {"method": "gradient_ascent", "settings": {"epochs": 1, "learning_rate": 1e-5}}
MANY = range(20, 80)
"""Enough people that the judge can tell."""


def attempts(caller: TestClient, request: dict[str, Any]) -> list[dict[str, Any]]:
    return list(caller.get(f"/v1/deletion-requests/{request['id']}/attempts").json()["data"])


def test_a_qualified_judge_lets_a_method_pass_and_refuses_one_that_did_nothing(allowed: Doors, directory: Path) -> None:
    policy = {"oracles": 5, "canaries": 200, "drift_budget": 0.5, "methods": [NOTHING], "verification": VERIFICATION}
    with client(allowed) as caller:
        registered(caller, allowed, directory, policy={"unlearning": policy})
        assert caller.post("/v1/models/checkpoint:qualify").status_code == 202
        world.drain(allowed)
        found = caller.get("/v1/models/checkpoint/qualification").json()
        assert (found["standing"], found["fewer_oracles"], found["holds"]) == ("qualified", True, True)
        assert found["methods"] == {"gradient_ascent": "no_effect"}
        assert set(found["account"]["qualification"]["caught"].values()) == {True}

        done = forget(caller, allowed, *MANY, unlearning=TUNED)
        [tried] = attempts(caller, done)
        assert (tried["ending"], tried["accepted"], tried["why"]) == ("passed", True, "asked_for_in_the_request"), tried
        assert caller.get("/v1/models/checkpoint").json()["serving"]["guarantee"] == "judged"
        [certificate] = done["certificates"]
        verdict = verified(caller, certificate["id"])
        assert verdict.failures == []
        assert any("within the stated margins" in sentence for sentence in verdict.asserted)

        # By its policy alone, the method that was refused in qualification is not even tried.
        identities = [{"identity_type": "email", "identity_value": checkpoint_world.person(3)}]
        looked = caller.post("/v1/deletion-requests:preview", json={"subject": {"identities": identities}}).json()
        plan = looked["models"][0]["plan"]
        assert {"method": "gradient_ascent", "why": "refused_in_qualification"} in plan["omitted"]
        assert [step["method"] for step in plan["steps"]] == ["retrain"]


def test_what_the_judge_refuses_falls_back_to_the_next_method_and_at_last_to_a_retrain(
    allowed: Doors, directory: Path
) -> None:
    names = ("scrub", "fine_tune", "random_label", "simple_negative_preference")
    methods = [{"method": name, "settings": {"epochs": 4}} for name in names]
    policy = {"try_unqualified": True, "methods": methods}
    with client(allowed) as caller:
        registered(caller, allowed, directory, policy={"unlearning": policy})
        done = forget(caller, allowed, 1, 2)
        tried = attempts(caller, done)
        assert [one["method"] for one in tried] == [*names, "retrain"]
        assert [one["accepted"] for one in tried] == [False] * 4 + [True]
        assert {one["why_accepted_or_not"] for one in tried[:4]} == {"the_judge_did_not_pass_it"}
        assert done["result"] == "unlearned"
        [certificate] = done["certificates"]
        assert certificate["guarantee"] == "retrained"
        assert verified(caller, certificate["id"]).failures == []
        assert "person-1@" not in caller.get(f"/v1/certificates/{certificate['id']}").text
    with allowed.database.transaction() as session:
        rows = list(session.execute(select(checkpoints.checkpoints)))
        assert sorted(row.state for row in rows) == ["dead"] * 5 + ["live"]
        for row in rows:
            if row.state == "dead":
                with pytest.raises(KeyDestroyed):
                    allowed.keys.get(row.data_key_id)


def test_where_nobody_may_retrain_a_named_person_can_answer_for_what_the_judge_refused(
    allowed: Doors, directory: Path
) -> None:
    policy = {"try_unqualified": True, "methods": [{"method": "scrub", "settings": {"epochs": 4}}]}
    with client(allowed) as caller:
        registered(caller, allowed, directory, training=None, policy={"unlearning": policy})
        asked = forget(caller, allowed, 5)
        assert (asked["state"], asked["wait_reason"]) == ("needs_attention", "judgement_refused")
        model = caller.get("/v1/models/checkpoint").json()
        assert (model["serving"]["number"], model["serving"]["flagged"]) == (1, True)
        said = {"model": "checkpoint", "reason": "risk_accepted"}
        waived = caller.post(f"/v1/deletion-requests/{asked['id']}:waive", json=said)
        assert waived.status_code == 200, waived.text
        world.drain(allowed)
        done = caller.get(f"/v1/deletion-requests/{asked['id']}").json()
        assert done["state"] == "completed"
        [certificate] = done["certificates"]
        assert certificate["guarantee"] == "waived"
        verdict = verified(caller, certificate["id"])
        assert verdict.failures == []
        assert any("a named person answers for it" in sentence for sentence in verdict.asserted)
        assert [entry["action"] for entry in logged(caller, "judgement.waived")] == ["judgement.waived"]
        again = caller.post(f"/v1/deletion-requests/{asked['id']}:waive", json=said)
        problem(again, 422, "nothing_to_waive")


def logged(caller: TestClient, action: str) -> list[dict[str, Any]]:
    found = caller.get("/v1/audit/entries", params={"action": action}).json()["data"]
    return [one["entry"] for one in found]


def test_a_checkpoint_of_several_stages_cannot_be_retrained_and_says_so(allowed: Doors, directory: Path) -> None:
    stages = [{"name": "pretraining", "data": "0" * 64}, {"name": "fine_tuning", "data": "1" * 64}]
    with client(allowed) as caller:
        made = registered(caller, allowed, directory, stages=stages)
        assert made["recipe"]["staged"] is True
        asked = forget(caller, allowed, 5)
        assert asked["wait_reason"] == "judgement_refused"
        [tried] = attempts(caller, asked)
        assert (tried["ending"], tried["accepted"]) == ("staged_undefined", False)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_pickle_is_refused_whatever_it_is_called(allowed: Doors, tmp_path: Path, name: str) -> None:
    directory = tmp_path / "pickled"
    directory.mkdir()
    (directory / name).write_bytes(pickle.dumps({"0.weight": [1.0]}))
    with client(allowed) as caller:
        problem(caller.post("/v1/models", json=body(directory)), 400, "unsafe_file")


def test_what_is_not_the_architecture_s_is_refused_by_name(allowed: Doors, directory: Path) -> None:
    with client(allowed) as caller:
        wrong = body(directory, architecture={"kind": "perceptron", "hidden": [64]})
        detail = problem(caller.post("/v1/models", json=wrong), 422, "checkpoint_refused")["detail"]
        assert "0.weight is [128, 20] in the file and [64, 20]" in detail or "0.bias" in detail
        outside = problem(caller.post("/v1/models", json=body(Path("/etc"))), 403, "path_not_allowed")
        assert "LETHE_DATA_ROOTS" in outside["detail"]


def test_a_method_that_the_model_cannot_bear_is_refused_when_it_is_asked_for(allowed: Doors, directory: Path) -> None:
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        people = {"identities": [{"identity_type": "email", "identity_value": checkpoint_world.person(1)}]}
        for method, code in (
            ("blindspot", "method_needs_unmet"),
            ("rmu", "method_needs_unmet"),
            ("nop", "method_not_found"),
        ):
            asked = {"subject": people, "unlearning": {"method": method}}
            answer = caller.post("/v1/deletion-requests", json=asked, headers=once())
            problem(answer, 404 if method == "nop" else 422, code)


def test_a_checkpoint_that_never_loaded_holds_up_nobody_s_deletion_and_is_disposed_of(
    allowed: Doors, directory: Path, tmp_path: Path
) -> None:
    broken = checkpoint_world.trained()
    torch.nn.init.constant_(broken.get_parameter("0.bias"), torch.nan)
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        said = body(checkpoint_world.write(tmp_path / "broken", broken), name="broken")
        assert caller.post("/v1/models", json=said).status_code == 201
        world.drain(allowed)
        found = caller.get("/v1/models/broken").json()
        assert (found["state"], found["serving"]) == ("failed", None)
        done = forget(caller, allowed, 2)
        assert (done["state"], done["result"]) == ("completed", "unlearned")
        assert {one["model"]: one["state"] for one in done["jobs"]}[found["id"]] == "done"
        with allowed.database.transaction() as session:
            [left] = session.execute(
                select(checkpoints.checkpoints).where(checkpoints.checkpoints.c.model_id == found["id"])
            )
        assert left.state == "dead"
        with pytest.raises(KeyDestroyed):
            allowed.keys.get(left.data_key_id)


def test_a_deletion_waits_for_a_checkpoint_that_is_being_proved_and_spends_no_attempt(
    allowed: Doors, directory: Path
) -> None:
    with client(allowed) as caller:
        assert caller.post("/v1/models", json=body(directory)).status_code == 201
        with allowed.database.transaction() as session:
            proof = jobs.claim(session, lane=Lane.COMPUTE, worker="slow", lease=60)
        assert proof is not None
        people = {"identities": [{"identity_type": "email", "identity_value": checkpoint_world.person(2)}]}
        asked = caller.post("/v1/deletion-requests", json={"subject": people}, headers=once()).json()["id"]
        assert world.compute(allowed) >= 1, "it looked, and waits"
        [job] = caller.get(f"/v1/deletion-requests/{asked}").json()["jobs"]
        waiting = caller.get(f"/v1/jobs/{job['id']}").json()
        assert (waiting["state"], waiting["attempt"]) == ("waiting", 0)
        run_computation(proof.id, proof.fence, doors=allowed)
        assert caller.get("/v1/models/checkpoint").json()["state"] == "live"
        world.drain(allowed)
        assert caller.get(f"/v1/deletion-requests/{asked}").json()["state"] == "completed"


@pytest.mark.parametrize("point", METHOD_POINTS)
def test_a_worker_killed_while_a_method_runs_leaves_the_old_version_and_the_next_one_ends_with_the_same_bits(
    allowed: Doors, directory: Path, tmp_path: Path, point: str
) -> None:
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        identities = [{"identity_type": "email", "identity_value": checkpoint_world.person(4)}]
        asked = caller.post(
            "/v1/deletion-requests", json={"subject": {"identities": identities}}, headers=once()
        ).json()
        with allowed.database.transaction() as session:
            job = jobs.claim(session, lane=Lane.COMPUTE, worker="doomed", lease=60)
        assert job is not None
        fault = tmp_path / "fault"
        fault.write_text(point)
        code = (
            "import core.use_cases.attempt_method as a; a.SAVE_SECONDS = 0.2\n"
            "from core.settings import Settings; from core.use_cases.doors import open_doors\n"
            "from core.use_cases.run_computation import run_computation\n"
            f"run_computation({job.id!r}, {job.fence}, doors=open_doors(Settings()))"
        )
        settings = environment(allowed.settings) | {"LETHE_FAULT_FILE": str(fault)}
        died = subprocess.run([sys.executable, "-c", code], env=os.environ | settings, check=False)
        assert died.returncode == -signal.SIGKILL
        kept = point == "after_attempt_commit"  # the new version is live, and what is left is to conclude
        assert caller.get("/v1/models/checkpoint").json()["serving"]["number"] == (2 if kept else 1)
        with allowed.database.transaction() as session:
            run = checkpoints.find_run(session, job.id)
            session.execute(jobs.jobs.update().values(lease_until=jobs.soon(-1)))
        if point == "after_state_saved":
            assert run is not None
            assert run.state_digest is not None
        assert free_expired_jobs(allowed) == (0 if kept else 1)
        resumed = None if kept else again_from_nothing(allowed, job.id)
        world.drain(allowed)
        done = caller.get(f"/v1/deletion-requests/{asked['id']}").json()
        assert done["state"] == "completed"
        [tried] = attempts(caller, done)
        assert kept or tried["result"] == resumed
        assert caller.get("/v1/models/checkpoint").json()["serving"]["number"] == 2
        if point == "after_state_saved":
            assert run is not None
            assert run.state_digest not in set(allowed.store.list_digests())


def test_a_store_that_is_away_once_an_attempt_is_committed_fails_nobodys_job(
    allowed: Doors, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    delete = type(allowed.store).delete

    def away_at_first(store: Any, digest: str) -> None:
        with allowed.database.transaction() as session:
            tried = session.execute(select(checkpoints.method_attempts.c.number)).first()
        if tried is not None and not refused:
            refused.append(digest)
            raise StoreUnavailable
        delete(store, digest)

    monkeypatch.setattr(attempt_method, "SAVE_SECONDS", 0.0)
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        monkeypatch.setattr(type(allowed.store), "delete", away_at_first)
        done = forget(caller, allowed, 4)
        assert refused
        assert done["state"] == "completed"
        [job] = done["jobs"]
        assert caller.get(f"/v1/jobs/{job['id']}").json()["attempt"] == 1


def again_from_nothing(doors: Doors, job_id: str) -> str:
    """Return the digest of what a job's only attempt gives when nobody interrupts it."""
    from core.use_cases.attempt_method import seed_of
    from core.use_cases.open_desk import open_desk
    from core.use_cases.plan_method import plan_method

    with doors.database.transaction() as session:
        job = jobs.claim(session, lane=Lane.COMPUTE, worker="looker", lease=60)
    assert job is not None
    assert job.id == job_id
    run = plan_method(job, doors)
    assert run is not None
    desk, step = open_desk(doors, run), run.steps[0]
    outcome = unlearn(order_for(step.choice.method, step.choice.settings, seed=seed_of(run, 0)), desk.task())
    with doors.database.transaction() as session:
        jobs.hand_back(session, jobs.hold(session, job.id, job.fence))
    return str(outcome.manifest["result"])


def test_the_predictor_answers_from_a_checkpoint_and_follows_its_version(allowed: Doors, directory: Path) -> None:
    asked = {"model": "checkpoint", "inputs": [{f"x{at}": 0.5 for at in range(checkpoint_world.FEATURES)}]}
    with client(allowed) as caller:
        registered(caller, allowed, directory)
        with predicting(allowed) as predictor:
            wait_for(lambda: predictor.post("/v1/predict", json=asked).status_code == 200)
            before = predictor.post("/v1/predict", json=asked).json()
            assert (before["manifest"]["number"], before["degraded"]) == (1, False)
            assert before["predictions"][0]["label"] in checkpoint_world.LABELS
            done = forget(caller, allowed, 7)
            wait_for(lambda: predictor.post("/v1/predict", json=asked).json()["manifest"]["number"] == 2)
            world.drain(allowed)
            assert caller.get(f"/v1/deletion-requests/{done['id']}").json()["state"] == "completed"
        lineage = caller.get("/v1/models/checkpoint/lineage")
        assert lineage.status_code == 200, lineage.text
