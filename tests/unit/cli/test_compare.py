"""`lethe compare`: a run on few rows, a checkpoint of one's own, the report, and what it refuses before any work."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli import compare_data
from cli.compare import read_settings
from cli.compare_data import CANARY, digits, struck
from cli.compare_plots import figures_png
from cli.compare_report import written_comparison
from cli.compare_words import AXES, ENDINGS, MARKS
from cli.main import app
from cli.output import CommandFailed
from core.domain.architecture_file import SCHEMA
from core.domain.errors import MethodFailed
from core.modelling.networks import perceptron
from core.modelling.tensors import to_bytes
from core.verification.policy import POLICIES, Axis
from core.verification.verdict import Ending
from tests.integration.hugging_directories import BERT, write_directory

RUN = CliRunner()
FAST = ["--oracles", "19", "--epochs", "6", "--learning-rate", "0.01"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return an NPZ of two Gaussian clouds; the rows of one owner carry the wrong label."""
    chance = np.random.default_rng(0)
    targets = chance.integers(0, 2, 240)
    inputs = chance.normal(0, 1, (240, 6)).astype(np.float32) + 2 * targets[:, None].astype(np.float32)
    owners = np.array([f"owner-{row // 20}" for row in range(240)])
    targets[:20] = 1 - targets[:20]
    split = np.array(["train"] * 120 + ["holdout"] * 20 + ["test"] * 100)
    path = tmp_path / "rows.npz"
    np.savez(path, inputs=inputs, targets=targets, owners=owners, split=split)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    sizes = {"inputs": [6], "hidden": [16], "outputs": 2}
    description = {"schema": SCHEMA, "kind": "perceptron", "modality": "classifier", **sizes}
    (directory / "architecture.json").write_text(json.dumps(description))
    torch.manual_seed(0)
    (directory / "model.safetensors").write_bytes(to_bytes(perceptron(6, [16], 2).state_dict()))
    return directory


def compared(rows: Path, *options: str) -> dict[str, Any]:
    done = RUN.invoke(app, ["compare", "--data", str(rows), *FAST, "--json", *options])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_rows_of_ones_own_are_compared_and_reported(rows: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    options = ["--forget", "owner=owner-0", "--methods", "oracle,ga,scrub", "--set", "scrub.epochs=3"]
    found = compared(rows, *options, "--set", "scrub.forget_epochs=1", "--html", str(page), "--png", str(picture))
    assert [one["method"] for one in found["methods"]] == ["retrain", "gradient_ascent", "scrub"]
    assert found["methods"][2]["settings"] == {"epochs": 3, "forget_epochs": 1}
    assert found["methods"][0]["settings"]["epochs"] == 6
    assert found["rows"] == {"forget": 20, "retain": 100, "holdout": 20, "test": 100}
    assert found["oracles"]["count"] == 19
    assert found["original"]["ending"] == "no_effect"
    for one in found["methods"]:
        assert one.get("refused") or one["ending"] in set(Ending)
        if "cost" in one:
            assert one["cost"]["seconds"] > 0
            assert one["cost"]["retrain_share"] > 0
    text = page.read_text()
    assert not re.search(r"(?:src|href)=\"(?!#)|url\((?!#)|@import", text), "nothing is fetched"
    for word in ("SCRUB", "Gradient ascent", "one oracle more", "nothing done", "<svg"):
        assert word in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert figures_png(found) == picture.read_bytes()


def test_a_checkpoint_of_ones_own_is_what_is_compared_on(rows: Path, checkpoint: Path) -> None:
    found = compared(rows, "--checkpoint", str(checkpoint), "--forget", "class=1", "--methods", "ft")
    assert found["checkpoint"] == "model"
    # An untrained network: whatever it says of the forgotten class, oracles never heard of it.
    assert found["oracles"]["unlearning"] > 95
    assert {one["method"] for one in found["methods"]} == {"fine_tune"}


def test_a_hugging_face_directory_is_asked_what_the_rows_ask(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    chance = np.random.default_rng(0)
    ids, split = chance.integers(3, 20, (80, 5)), np.array(["train"] * 50 + ["test"] * 30)
    np.savez(tmp_path / "ids.npz", inputs=ids, targets=chance.integers(0, 2, 80), split=split)
    directory = write_directory(tmp_path / "bert", BERT)
    options = ["--checkpoint", str(directory), "--forget", "random=0.2", "--methods", "ft,retrain"]
    found = compared(tmp_path / "ids.npz", *options, "--oracles", "2", "--epochs", "1")
    assert (found["modality"], found["checkpoint"]) == ("classifier", "bert")
    assert [one.get("refused") for one in found["methods"]] == [None, None]
    assert all(one["cost"]["seconds"] > 0 for one in found["methods"])


def test_regressors_are_compared_by_confidence(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    inputs = chance.normal(0, 1, (200, 4)).astype(np.float32)
    path = tmp_path / "numbers.npz"
    np.savez(path, inputs=inputs, targets=inputs.sum(1) + chance.normal(0, 0.1, 200).astype(np.float32))
    found = compared(path, "--forget", "random=0.2", "--methods", "gaussian", "--html", str(tmp_path / "page.html"))
    assert found["modality"] == "regressor"
    assert found["scale"] > 0
    assert found["methods"][0]["figures"]["threshold_attack"] is None
    assert "mean confidences" in (tmp_path / "page.html").read_text()


def test_the_same_command_gives_the_same_figures(rows: Path) -> None:
    options = ["--forget", "owner=owner-0", "--methods", "ga"]
    first, second = compared(rows, *options), compared(rows, *options)
    assert first["methods"][0]["judgement"] == second["methods"][0]["judgement"]
    assert first["oracles"]["spread"] == second["oracles"]["spread"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--forget", "owner=nobody"], "means no row"),
        (["--forget", "random=1.1"], "means every row"),
        (["--forget", "random=x"], "takes a share"),
        (["--forget", "colour=red"], "--forget is owner=NAME"),
        (["--methods", "nop"], "no method of that name"),
        (["--methods", "blindspot"], "cannot run on a classifier"),
        (["--methods", "ga", "--set", "scrub.epochs=1"], "does not run"),
        (["--methods", "ga", "--set", "ga.surprise=1"], "takes batch_size"),
        (["--methods", "ga", "--set", "ga.epochs=0"], "at least 1"),
        (["--set", "epochs"], "--set takes METHOD.SETTING=VALUE"),
        (["--learning-rate", "0"], "learning_rate"),
        (["--data", "nowhere.npz"], "cannot be read"),
        (["--html", "nowhere/page.html"], "cannot be written"),
        (["--checkpoint", "model"], "needs the rows that it learned"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    options: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("core.use_cases.compare_methods.taught", lambda *_, **__: perceptron(64, [], 10))
    monkeypatch.setattr(compare_data, "taught", lambda *_, **__: perceptron(64, [], 10))
    done = RUN.invoke(app, ["compare", *options])
    assert done.exit_code != 0
    assert sentence in done.stderr
    assert done.stderr.count("\n") <= 2


def test_pickles_and_rows_that_do_not_fit_are_refused(rows: Path, checkpoint: Path, tmp_path: Path) -> None:
    def refused(path: Path, *options: str) -> str:
        done = RUN.invoke(app, ["compare", "--data", str(path), "--forget", "random=0.5", *FAST, *options])
        assert done.exit_code != 0
        return done.stderr

    arrays = dict(np.load(rows))
    np.savez(tmp_path / "objects.npz", **{**arrays, "owners": arrays["owners"].astype(object)})
    assert "pickled objects" in refused(tmp_path / "objects.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({}))
    assert "pickled objects" in refused(tmp_path / "pickle.npz") or "no NPZ" in refused(tmp_path / "pickle.npz")
    np.savez(tmp_path / "short.npz", inputs=arrays["inputs"], targets=arrays["targets"][:-1])
    assert "of one length" in refused(tmp_path / "short.npz")
    np.savez(tmp_path / "unsplit.npz", inputs=arrays["inputs"], targets=arrays["targets"])
    assert "which rows the checkpoint learned" in refused(tmp_path / "unsplit.npz", "--checkpoint", str(checkpoint))
    np.savez(tmp_path / "wide.npz", **{**arrays, "inputs": np.tile(arrays["inputs"], 2)})
    assert "do not fit the checkpoint" in refused(tmp_path / "wide.npz", "--checkpoint", str(checkpoint))
    np.savez(tmp_path / "beyond.npz", **{**arrays, "targets": arrays["targets"] + 5})
    assert "beyond what the checkpoint can answer" in refused(tmp_path / "beyond.npz", "--checkpoint", str(checkpoint))
    np.savez(tmp_path / "real.npz", **{**arrays, "targets": arrays["targets"].astype(np.float32)})
    assert "whole numbers" in refused(tmp_path / "real.npz", "--checkpoint", str(checkpoint))


def test_the_digits_have_a_canary_with_flipped_labels() -> None:
    found = digits()
    chosen = struck(found, f"owner={CANARY}")
    assert chosen.sum() == 60
    assert found.owners is not None
    assert (found.split[chosen] == "train").all()
    with pytest.raises(CommandFailed):
        struck(found, "class=11")


def test_settings_are_read_as_json_or_as_words() -> None:
    found = read_settings(["scrub.rewind=yes", "scrub.epochs=3", "ga.learning_rate=1e-3"])
    assert found == {"scrub": {"rewind": "yes", "epochs": 3}, "ga": {"learning_rate": 1e-3}}


def test_there_is_a_word_for_every_ending_axis_and_refusal() -> None:
    kinds: list[type[MethodFailed]] = [MethodFailed, *MethodFailed.__subclasses__()]
    refusals = {kind().code for kind in kinds}
    assert {one.value for one in Ending} | refusals <= set(ENDINGS)
    asked = {axis for policy in POLICIES.values() for axis in policy.oracle_margins} | {Axis.EFFECT, Axis.RANK}
    assert {axis.value for axis in asked} == set(AXES)
    told = {Ending.PASSED, Ending.NOT_COMPARABLE, Ending.STAGED_UNDEFINED}
    assert {one.value for one in set(Ending) - told} <= set(MARKS)


def judged(name: str, ending: str) -> dict[str, Any]:
    figures = {"unlearning": 1.0, "retain": 2.0, "test": 3.0, "membership": 50.0, "average_gap": 1.0}
    judgement = {"ending": ending, "findings": [], "reason": ""}
    cost = {"seconds": 1.0, "retrain_share": 0.5, "seconds_share": 0.5}
    return {"method": name, "settings": {}, "ending": ending, "figures": figures, "judgement": judgement, "cost": cost}


def story(oracle: str, original: str) -> dict[str, Any]:
    names = ("unlearning", "retain", "test", "membership")
    return {
        "modality": "classifier",
        "data": "<rows>",
        "forget": "owner=<b>",
        "checkpoint": None,
        "seed": 0,
        "policy": {"digest": "0" * 64},
        "rows": {"forget": 1, "retain": 9},
        "oracles": {
            "count": 19,
            "seconds": 1.0,
            "spread": {name: [1.0, 2.0] for name in names},
            **judged("", "passed")["figures"],
        },
        "original": judged("", original),
        "oracle": judged("", oracle),
        "methods": [
            judged("scrub", "passed"),
            {"method": "salun", "settings": {}, "refused": "diverged", "detail": "<x>"},
        ],
        "training": {"epochs": 1},
        "environment": {"torch": "2"},
    }


def test_the_report_says_first_whether_its_judge_can_be_believed() -> None:
    assert "The judge can be believed here" in written_comparison(story("passed", "no_effect"))
    assert "cannot be believed" in written_comparison(story("failed_over_forgot", "no_effect"))
    assert "cannot be believed" in written_comparison(story("passed", "passed"))
    assert "nobody could tell" in written_comparison(story("underpowered", "underpowered"))


def test_the_report_escapes_what_was_typed_and_names_refusals() -> None:
    page = written_comparison(story("passed", "no_effect"))
    assert "owner=&lt;b&gt;" in page
    assert "&lt;rows&gt;" in page
    assert "&lt;x&gt;" in page
    assert "diverged" in page
    assert "passes 1 of 2 methods" in page
