"""What `lethe delete` and `lethe datasets register` make of their options, before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

RUNNER = CliRunner(env={"LETHE_API_KEY": "lethe_key", "LETHE_URL": "http://127.0.0.1:9"})
PERSON = "anna@example.org"


@pytest.mark.parametrize("text", [PERSON, f"={PERSON}", "email=", " = "])
def test_an_identity_that_cannot_be_read_is_never_repeated(text: str) -> None:
    told = RUNNER.invoke(app, ["delete", "--identity", text])
    assert told.exit_code == 2
    assert "identity 1" in told.stderr
    assert "anna" not in told.output


def test_identities_from_stdin_are_counted_on_from_the_options() -> None:
    told = RUNNER.invoke(
        app, ["delete", "--identity", "email=a", "--identity-file", "-"], input="email=b\n\nnonsense\n"
    )
    assert told.exit_code == 2
    assert "identity 3" in told.stderr


def test_records_need_a_data_set_and_ids() -> None:
    assert RUNNER.invoke(app, ["delete", "--records", "digits="]).exit_code == 2


def test_an_unanswered_request_says_how_to_repeat_it_safely() -> None:
    told = RUNNER.invoke(app, ["delete", "--identity", f"email={PERSON}", "--idempotency-key", "once-7"])
    assert told.exit_code == 1
    assert "--idempotency-key once-7" in told.stderr
    assert "anna" not in told.output


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["rows.npz", "--column", "images=x"],
        ["--column", "nothing=x"],
        ["--column", "images"],
    ],
)
def test_a_data_set_needs_one_npz_or_its_columns(options: list[str]) -> None:
    assert RUNNER.invoke(app, ["datasets", "register", "digits", *options]).exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--image-shape", "4x4"],
        ["--image-shape", "4by4", "--labels", "0"],
        ["--image-shape", "4x4", "--labels", "0", "--pixels", "x"],
    ],
)
def test_a_schema_that_is_missing_or_unreadable_is_unusable(options: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    file.write_bytes(b"rows")
    assert RUNNER.invoke(app, ["datasets", "register", "digits", str(file), *options]).exit_code == 2


def test_a_file_that_is_not_there_is_a_sentence_and_an_error_object(tmp_path: Path) -> None:
    told = RUNNER.invoke(app, ["datasets", "register", "digits", str(tmp_path / "none.npz"), "--json"])
    assert told.exit_code == 2
    assert json.loads(told.stdout)["error"]["code"] == "unusable_input"
