"""`lethe demo` from end to end on a tiny recipe: what it prints, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

pytestmark = pytest.mark.slow
TINY = ("--shards", "2", "--slices", "2", "--layers", "2", "--width", "16", "--epochs", "1", "--backbone-epochs", "2")
ENCODER_FILES = {"config.json", "model.safetensors", "tokenizer.json"}
PROMISED = {
    "e1_milliseconds",
    "e1_milliseconds_p95",
    "accuracy_before",
    "accuracy_at_e1",
    "accuracy_after_repair",
    "accuracy_unsharded",
    "nodes_total",
    "nodes_dead",
    "certificate",
    "certificate_verified",
    "log_verified",
    "full_retrain_seconds",
    "sisa_retrain_seconds",
}


def lethe(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("somewhere") / "lethe-demo"


@pytest.fixture(scope="module")
def result(directory: Path) -> Iterator[dict[str, Any]]:
    done = lethe("demo", "--json", "--keep", "--deletions", 2, "--directory", directory, *TINY)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    yield found
    stop(found["service"]["pid"])


def stop(pid: int) -> None:
    """End a service that a demo left running, and wait until it is gone."""
    os.kill(pid, signal.SIGTERM)
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the service did not stop")


def test_the_demo_prints_one_object_with_every_promised_number(result: dict[str, Any]) -> None:
    assert result.keys() >= PROMISED
    assert None not in [result[name] for name in PROMISED]
    assert result["certificate_verified"] is True
    assert result["log_verified"] is True
    assert result["nodes_total"] == 6
    assert 0 < result["nodes_dead"] < 12
    assert 0 < result["e1_milliseconds"] <= result["e1_milliseconds_p95"]


def test_predictions_were_answered_throughout_and_none_by_a_dead_node(result: dict[str, Any]) -> None:
    assert result["predictions_answered"] > 20
    assert (result["predictions_failed"], result["predictions_stale"], result["dead_nodes_served"]) == (0, 0, 0)


def test_each_deletion_has_a_new_manifest_and_two_certificates(result: dict[str, Any]) -> None:
    manifests = [one["e1_manifest"] for one in result["deletions"]]
    assert manifests == sorted(set(manifests))
    promises = sorted((one["deletion"], one["guarantee"]) for one in result["certificates"])
    assert promises == [(n, promise) for n in (1, 2) for promise in ("influence_free", "retrain_equivalent")]


def test_retraining_fed_the_records_that_are_left(result: dict[str, Any]) -> None:
    left = result["data"]["records"] - result["records_deleted"]
    assert result["full_retrain"]["records"] == left
    assert 0 < result["sisa_retrain"]["records"] < left


def test_the_evidence_left_behind_verifies_with_lethe_verify(result: dict[str, Any], directory: Path) -> None:
    certificate = Path(result["certificate"])
    files = ("--proof", certificate.with_suffix(".proof"), "--key", directory / "lethe.vkey")
    assert lethe("verify", certificate, *files, "--log", directory / "log.jsonl").returncode == 0
    log = (directory / "log.jsonl").read_bytes()
    (directory / "altered.jsonl").write_bytes(log.replace(b"a", b"b", 1))
    assert lethe("verify", certificate, *files, "--log", directory / "altered.jsonl").returncode == 1


def test_the_report_names_no_deleted_person(result: dict[str, Any], directory: Path) -> None:
    page = (directory / "report.html").read_text()
    assert "writer-36" not in page + json.dumps(result)  # the second of two among 72
    assert result["deletions"][1]["owner"] in page


def test_a_kept_service_runs_on_and_its_directory_is_not_taken_from_it(result: dict[str, Any], directory: Path) -> None:
    assert httpx2.get(result["service"]["url"] + "/readyz").status_code == 200
    again = lethe("demo", "--directory", directory, *TINY)
    assert again.returncode == 2
    assert "still runs" in again.stderr


def test_a_running_service_can_be_shown_too_and_the_comparison_is_skipped_with_a_reason(
    result: dict[str, Any], directory: Path, tmp_path: Path
) -> None:
    service = result["service"]
    key = (directory / "service" / "admin.key").read_text().strip()
    where = ("--url", service["url"], "--predictor-url", service["predictor_url"])
    done = lethe("demo", *where, "--json", "--deletions", 1, "--directory", tmp_path / "d", *TINY, LETHE_API_KEY=key)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["full_retrain_seconds"] is None
    assert "elsewhere" in found["comparison_skipped"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--shards", 9), r"try --shards 6 --slices 4"),
        (("--slices", 4, "--layers", 2), "layers"),
        (("--family", "circus"), "--family must be one of"),
        (("--deletions", 73), "1..72"),
        (("--rows", 10), "your own data"),
        (("--width", 10), "multiple of heads"),
        (("--task", "tabular", "--data", __file__), "lethe datasets register"),
        (("--url", "http://127.0.0.1:9"), "--predictor-url"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(tmp_path: Path, arguments: tuple[object, ...], sentence: str) -> None:
    done = lethe("demo", "--directory", tmp_path / "demo", *arguments, LETHE_API_KEY="")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        done = lethe("demo", "--directory", tmp_path / "demo", "--port", busy.getsockname()[1])
    assert done.returncode != 0
    assert "is busy" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("task", "kind", "head"), [("tabular", "classification", "tumours"), ("regression", "regression", "progress")]
)
def test_a_table_is_shown_as_images_are(tmp_path: Path, task: str, kind: str, head: str) -> None:
    directory = tmp_path / "demo"
    done = lethe("demo", "--task", task, "--json", "--deletions", 2, "--directory", directory, *TINY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= PROMISED
    assert None not in [found[name] for name in PROMISED]
    assert (found["data"]["task"], found["data"]["owners"], found["nodes_total"]) == (kind, 48, 6)
    assert found["certificate_verified"] is True
    assert found["log_verified"] is True
    assert (found["predictions_failed"], found["predictions_stale"], found["dead_nodes_served"]) == (0, 0, 0)
    assert found["full_retrain"]["records"] == found["data"]["records"] - found["records_deleted"]
    page = (directory / "report.html").read_text()
    assert "patient-24" not in page + json.dumps(found)  # the second of two among 48
    assert head in lethe("demo", "--help").stdout


def test_posts_are_shown_as_images_are(tmp_path: Path) -> None:
    small = ("--shards", "2", "--slices", "2", "--epochs", "1", "--deletions", 2)
    done = lethe("demo", "--task", "text", "--json", "--directory", tmp_path / "demo", *small)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert None not in [found[name] for name in PROMISED]
    assert (found["certificate_verified"], found["log_verified"]) == (True, True)
    assert (found["predictions_failed"], found["predictions_stale"], found["dead_nodes_served"]) == (0, 0, 0)
    assert all(one["recalled"] is None for one in found["deletions"])
    assert {path.name for path in (tmp_path / "demo" / "base-model").iterdir()} == ENCODER_FILES
    assert "author-36" not in (tmp_path / "demo" / "report.html").read_text()


def test_a_language_model_no_longer_completes_what_somebody_deleted_had_taught_it(tmp_path: Path) -> None:
    small = ("--shards", "1", "--slices", "2", "--deletions", 1)
    done = lethe("demo", "--task", "lm", "--json", "--directory", tmp_path / "demo", *small)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert None not in [found[name] for name in PROMISED]
    assert (found["certificate_verified"], found["log_verified"]) == (True, True)
    [one] = found["deletions"]
    before, at_e1, after = (one["recalled"][when] for when in ("before", "at_e1", "after_repair"))
    # The keys of a demo are drawn anew each time, so its figures vary: 0.97 to 0.98 before, 0.06 to 0.16 afterwards.
    assert before["likelihood"] > 0.7
    assert max(at_e1["likelihood"], after["likelihood"]) < 0.5
    assert before["said"]
    assert found["accuracy_after_repair"] > found["accuracy_public"]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert f"<td>{before['prompt']} …</td>" in page


def test_somebodys_own_arrays_are_shown_likewise(tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    labels = np.arange(240) % 2
    images = chance.integers(0, 100, (240, 4, 4)) + 150 * labels[:, None, None]
    np.savez(tmp_path / "mine.npz", images=images, labels=labels, who=np.arange(240) % 20)
    options = ("--data", tmp_path / "mine.npz", "--owners-column", "who", "--deletions", 1)
    done = lethe("demo", *options, "--json", "--directory", tmp_path / "demo", *TINY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["data"]["owners"] == 20
    assert any("first 66 are declared public" in rule for rule in found["data"]["rules"])
