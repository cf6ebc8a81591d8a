"""The commands against a running service: from rows on disk to a certificate that verifies without the service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.serve import Service, background

OWNERS = 16
PERSON = "owner-3@example.org"
RECIPE = {
    "shards": 2,
    "slices": 2,
    "family": "chain",
    "backbone": {"width": 8, "layers": 2, "heads": 2, "epochs": 1},
    "node": {"rank": 2, "epochs": 1},
}


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


Lethe = Callable[..., Told]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # A short path: the private PostgreSQL listens on a socket in it, and such names have at most 107 bytes.
    with background(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def lethe(service: Service) -> Lethe:
    """Run a command in a process of its own, as somebody on the service's machine who set nothing up."""

    def run(*arguments: str, stdin: str = "", data: bool = True) -> Told:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
        if data:
            environment["LETHE_DATA_DIRECTORY"] = str(service.directory)
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            capture_output=True, text=True, input=stdin, env=environment, check=False, timeout=120,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return Told(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file per column: 4x4 pixels, two rows of each of sixteen owners, and eight public rows."""
    directory = tmp_path_factory.mktemp("rows")
    count = 2 * OWNERS + 8
    chance = np.random.default_rng(7)
    np.save(directory / "images.npy", chance.integers(0, 255, (count, 4, 4), dtype=np.uint8))
    np.save(directory / "labels.npy", np.arange(count) % 2)
    np.save(directory / "public.npy", np.arange(count) >= 2 * OWNERS)
    owners = [f"owner-{row // 2}@example.org" if row < 2 * OWNERS else "" for row in range(count)]
    (directory / "owners.txt").write_text("\n".join(owners) + "\n")
    (directory / "record_ids.txt").write_text("".join(f"row-{row}\n" for row in range(count)))
    (directory / "recipe.json").write_text(json.dumps(RECIPE))
    return directory


@pytest.fixture(scope="module")
def model(lethe: Lethe, rows: Path) -> str:
    """The id of a live model, registered by commands."""
    files = {"images": "images.npy", "labels": "labels.npy", "owners": "owners.txt", "record_ids": "record_ids.txt"}
    columns = [f"--column={role}={rows / name}" for role, name in files.items()]
    schema = ["--image-shape", "4x4", "--labels", "0,1", "--public", "public", f"--column=public={rows / 'public.npy'}"]
    made = lethe("datasets", "register", "digits", *columns, *schema, "--json")
    assert made.code == 0, made
    assert made.value["owners"] == OWNERS
    live = lethe("models", "register", "digits", "digits", "--recipe", str(rows / "recipe.json"), "--wait", "--json")
    assert live.code == 0, live
    assert live.value["state"] == "live"
    return str(live.value["id"])


@pytest.fixture(scope="module")
def forgotten(lethe: Lethe, model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A completed request about one person, and the directory that its evidence was saved in."""
    assert model
    directory = tmp_path_factory.mktemp("evidence")
    identity = f"email={PERSON}\n"
    done = lethe(
        "delete", "--identity-file", "-", "--external-id", "case-1", "--save", str(directory), "--json", stdin=identity
    )
    assert done.code == 0, done
    assert PERSON not in done.out + done.err
    assert done.value["state"] == "completed"
    return done.value, directory


def test_what_was_registered_is_listed_and_shown(lethe: Lethe, model: str) -> None:
    assert model in lethe("models", "list").out
    assert "retrain_equivalent" in lethe("models", "show", "digits").out
    assert "serving" in lethe("models", "versions", model).out
    assert lethe("models", "manifest", "digits", "--json").value["manifest"]["content"]["shards"] == 2
    assert "canonical" in lethe("models", "manifest", model, "1").out
    assert "digits" in lethe("datasets", "list").out
    assert lethe("datasets", "show", "digits", "--json").value["records"] == 2 * OWNERS + 8


def test_a_preview_does_nothing(lethe: Lethe, model: str) -> None:
    seen = lethe("delete", "--identity", "email=owner-9@example.org", "--preview", "--json")
    assert seen.code == 0
    assert seen.value["records"] == 2
    assert seen.value["models"][0]["model"] == model
    assert "nodes switched off" in lethe("delete", "--records", "digits=row-20", "--preview").out


def test_a_deletion_leaves_evidence_that_verifies_without_the_service(
    lethe: Lethe, forgotten: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    request, directory = forgotten
    certificate = request["certificates"][0]["id"]
    log = tmp_path / "log"
    assert lethe("audit", "export", str(log)).code == 0
    files = [str(directory / f"{certificate}.dsse.json"), "--proof", str(directory / f"{certificate}.tlog-proof")]
    told = lethe("verify", *files, "--key", str(directory / "lethe.vkey"), "--log", str(log), data=False)
    assert told.code == 0, told
    assert told.out.startswith("VALID")
    assert "PROVED" in told.out
    assert "ASSERTED" in told.out
    log.write_bytes(log.read_bytes().replace(b"case", b"CASE").replace(b"model.live", b"model.lost"))
    assert lethe("verify", *files, "--key", str(directory / "lethe.vkey"), "--log", str(log), data=False).code == 1


def test_requests_are_listed_shown_and_their_evidence_fetched_again(
    lethe: Lethe, forgotten: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    request, _ = forgotten
    assert request["id"] in lethe("requests", "list", "--state", "completed").out
    assert lethe("requests", "list", "--external-id", "nothing", "--json").value["data"] == []
    shown = lethe("requests", "show", request["id"], "--save", str(tmp_path))
    assert shown.code == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".tlog-proof", ".vkey"}
    commands = re.findall("^lethe (verify .*)$", shown.err, flags=re.MULTILINE)
    assert commands
    assert all(lethe(*command.split(), data=False).code == 0 for command in commands)


def test_a_request_that_has_ended_cannot_be_cancelled(lethe: Lethe, forgotten: tuple[dict[str, Any], Path]) -> None:
    told = lethe("requests", "cancel", forgotten[0]["id"], "--json")
    assert told.code == 1
    assert told.value["error"]["status"] == 409


def test_whoever_asked_may_not_approve_and_somebody_else_may_deny(
    service: Service, lethe: Lethe, rows: Path, model: str
) -> None:
    assert model
    recipe = ["--recipe", str(rows / "recipe.json")]
    assert lethe("models", "register", "careful", "digits", *recipe, "--approval", "--wait").code == 0
    waiting = lethe("delete", "--records", "digits=row-30", "--model", "careful", "--wait", "--json")
    assert waiting.code == 1
    assert waiting.value["error"]["code"] == "needs_approval"
    name = lethe("requests", "list", "--state", "pending_approval", "--json").value["data"][0]["id"]
    assert lethe("requests", "approve", name, "--json").value["error"]["code"] == "approver_is_requester"
    secret = lethe("keys", "create", "second-person", "--scope", "requests:approve").out.strip()
    environment = {**os.environ, "LETHE_API_KEY": secret}
    command = [sys.executable, "-m", "cli.main", "requests", "deny", name, "--json", "--url", service.url]
    stale = subprocess.run([*command, "--seen", "99"], capture_output=True, text=True, env=environment, check=False)
    assert json.loads(stale.stdout)["error"]["status"] == 412
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert json.loads(done.stdout)["state"] == "denied"


def test_keys_are_made_listed_and_revoked(lethe: Lethe, model: str) -> None:
    assert model
    made = lethe("keys", "create", "reader", "--scope", "models:read", "--json").value
    assert made["id"] in lethe("keys", "list").out
    assert lethe("keys", "revoke", made["id"]).code == 0
    assert lethe("keys", "revoke", made["id"], "--json").value["error"]["code"] == "api_key_not_found"
    listed = {key["id"]: key for key in lethe("keys", "list", "--json").value["data"]}
    assert listed[made["id"]]["revoked_at"] is not None
    assert made["secret"] not in lethe("keys", "list", "--json").out
    assert lethe("keys", "create", "bad", "--scope", "everything").code == 1


def test_beside_the_running_service_everything_is_as_it_should_be(
    lethe: Lethe, forgotten: tuple[dict[str, Any], Path]
) -> None:
    assert forgotten
    checked = lethe("fsck", "--json")
    assert checked.code == 0, checked
    assert checked.value["errors"] == 0
    log = lethe("audit", "verify", "--json")
    assert log.code == 0
    assert log.value["entries"] > 40


def test_jobs_are_listed_and_shown_with_their_attempts_and_a_deletion_s_is_not_cancelled(
    lethe: Lethe, forgotten: tuple[dict[str, Any], Path]
) -> None:
    request = forgotten[0]["id"]
    (job,) = lethe("jobs", "list", "--request", request, "--json").value["data"]
    assert job["id"] in lethe("jobs", "list", "--kind", "deactivate").out
    shown = lethe("jobs", "show", job["id"], "--json").value
    assert [one["outcome"] for one in shown["attempts"]] == ["concluded"]
    assert shown["attempts"][0]["worker"] in lethe("jobs", "show", job["id"]).out
    refused = lethe("jobs", "cancel", job["id"])
    assert refused.code == 1
    assert "deletion-requests" in refused.err
    (node, *_) = lethe("jobs", "list", "--kind", "train_node", "--state", "done", "--json").value["data"]
    assert lethe("jobs", "cancel", node["id"], "--json").value["error"]["code"] == "job_not_cancellable"
    assert lethe("jobs", "list", "--state", "nonsense").code == 2


def test_a_model_that_lacks_nothing_is_repaired_in_no_time(lethe: Lethe, model: str) -> None:
    assert lethe("models", "repair", model, "--json").value["id"] == model


def test_the_schema_is_up_to_date(lethe: Lethe, model: str) -> None:
    assert model
    assert lethe("migrate", "status", "--json").value["up_to_date"] is True
    assert lethe("migrate", "up").code == 0
    assert lethe("migrate", "up", "--dry-run").out == ""
    assert "CREATE TABLE audit_entries" in lethe("migrate", "sql").out
    assert lethe("migrate", "sql", "--from", "nonsense").code == 2


def test_what_is_not_there_is_a_sentence(lethe: Lethe, model: str) -> None:
    assert model
    told = lethe("models", "show", "nobody")
    assert (told.code, told.out, told.err) == (1, "", "lethe: There is no such model\n")


def test_a_prior_and_a_target_are_registered_by_options(lethe: Lethe, model: str, rows: Path) -> None:
    assert model  # and this one comes last: the deletions above are about one model only
    family = ("--family", "prior", "--family-budget", "1", "--family-prior", "5,1")
    target = ("--target-deletions", "10", "--target-active-share", "0.9")
    recipe = ("--recipe", str(rows / "recipe.json"))
    made = lethe("models", "register", "with-a-prior", "digits", *recipe, *family, *target, "--json")
    assert made.code == 0, made.err
    assert made.value["recipe"]["family_prior"] == [5, 1]
    assert "the target is 90%" in made.value["warnings"][0]
    assert "warning: after 10 deletions" in made.err
    refused = lethe("models", "register", "nothing", "digits", *recipe, "--target-active-share", "0.9")
    assert (refused.code, refused.err.strip()) == (2, "lethe: a target begins with --target-deletions")
