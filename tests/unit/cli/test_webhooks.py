"""`lethe webhooks verify` on files: 0 it was signed, 1 it was not, 2 unusable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.webhooks.standard import signed_headers, written_secret

RUNNER = CliRunner()
KEY, BODY, WHEN = bytes(range(32)), b'{"specversion":"1.0"}', 1_795_000_000


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A message that holds, and its secret."""
    headers = signed_headers([KEY], name="evt_1", timestamp=WHEN, body=BODY)
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "headers").write_text("".join(f"{name.title()}: {value}\n" for name, value in headers.items()))
    (tmp_path / "secret").write_text(written_secret(KEY) + "\n")
    return tmp_path


def judge(files: Path, *more: str, secret: bool = True, at: int | None = WHEN) -> tuple[int, str]:
    words = ["webhooks", "verify", str(files / "body"), "--headers", str(files / "headers"), *more]
    words += ["--secret-file", str(files / "secret")] if secret else []
    words += ["--at", str(at)] if at is not None else []
    told = RUNNER.invoke(app, words)
    return told.exit_code, told.stdout


def test_a_message_of_ours_is_valid(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(files) == (0, "VALID\n")
    monkeypatch.setenv("LETHE_WEBHOOK_SECRET", (files / "secret").read_text())
    (files / "secret").unlink()
    code, out = judge(files, "--json", secret=False)
    assert (code, json.loads(out)) == (0, {"valid": True, "failure": None})


def test_one_changed_byte_is_invalid(files: Path) -> None:
    (files / "body").write_bytes(BODY.replace(b"1", b"2"))
    code, out = judge(files)
    assert code == 1
    assert out.startswith("INVALID: no signature")
    assert json.loads(judge(files, "--json")[1])["valid"] is False


def test_a_recording_is_invalid(files: Path) -> None:
    assert judge(files, at=WHEN + 301)[0] == 1
    assert judge(files, at=WHEN + 299)[0] == 0
    assert judge(files, at=None)[0] == 1, "without a time, it is now"


def test_a_missing_header_is_invalid(files: Path) -> None:
    (files / "headers").write_text("webhook-id: evt_1\n")
    assert judge(files)[0] == 1


@pytest.mark.parametrize(("name", "content"), [("secret", b""), ("secret", b"whsec_!"), ("headers", b"\xff\xfe")])
def test_input_that_cannot_be_judged_is_unusable(files: Path, name: str, content: bytes) -> None:
    (files / name).write_bytes(content)
    assert judge(files)[0] == 2


@pytest.mark.parametrize("name", ["secret", "headers", "body"])
def test_a_file_that_is_missing_is_unusable(files: Path, name: str) -> None:
    (files / name).unlink()
    assert judge(files)[0] == 2


def test_without_a_secret_nothing_can_be_judged(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LETHE_WEBHOOK_SECRET", raising=False)
    assert judge(files, secret=False)[0] == 2
