"""`lethe verify` on files: 0 valid, 1 invalid, 2 unusable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.unit.audit import evidence

RUNNER = CliRunner()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A certificate that holds, its proof, the key and the log."""
    bundle = evidence.make_evidence()
    (tmp_path / "certificate").write_bytes(bundle.envelope)
    (tmp_path / "proof").write_text(bundle.proof)
    (tmp_path / "key").write_text(f"# the log's key\n\n{evidence.SIGNER.vkey}\n")
    (tmp_path / "log").write_bytes(b"".join(entry + b"\n" for entry in bundle.entries))
    return tmp_path


def verify(files: Path, *more: str) -> tuple[int, str]:
    names = [str(files / "certificate"), "--proof", str(files / "proof"), "--key", str(files / "key")]
    told = RUNNER.invoke(app, ["verify", *names, *more])
    return told.exit_code, told.stdout


def test_a_certificate_that_holds_says_apart_what_is_proved_and_what_is_said(files: Path) -> None:
    code, out = verify(files, "--log", str(files / "log"))
    assert code == 0
    assert out.startswith("VALID\n")
    proved, asserted = out.split("ASSERTED by the signer")
    assert "PROVED by these bytes" in proved
    assert "deleted records" in proved
    assert "That the served tensors are the manifest's." in asserted


def test_the_verdict_is_one_json_value_for_scripts(files: Path) -> None:
    code, out = verify(files, "--json")
    verdict = json.loads(out)
    assert code == 0
    assert verdict["valid"] is True
    assert verdict["proved"]
    assert verdict["asserted"]
    assert verdict["failures"] == []


@pytest.mark.parametrize("name", ["certificate", "proof", "log"])
def test_one_changed_byte_is_invalid(files: Path, name: str) -> None:
    content = bytearray((files / name).read_bytes())
    content[len(content) // 2] ^= 1
    (files / name).write_bytes(content)
    code, out = verify(files, "--log", str(files / "log"))
    assert code == 1
    assert out.startswith("INVALID\n")
    assert "PROVED" not in out


def test_a_log_that_was_cut_off_is_invalid(files: Path) -> None:
    (files / "log").write_bytes((files / "log").read_bytes()[:-1])
    assert verify(files, "--log", str(files / "log"))[0] == 1


@pytest.mark.parametrize("name", ["certificate", "proof", "key"])
def test_input_that_cannot_be_judged_is_unusable(files: Path, name: str) -> None:
    (files / name).write_bytes(b"nonsense")
    assert verify(files)[0] == 2


@pytest.mark.parametrize("name", ["certificate", "proof", "key"])
def test_a_file_that_is_missing_is_unusable(files: Path, name: str) -> None:
    (files / name).unlink()
    assert verify(files)[0] == 2


def test_a_stranger_s_key_proves_nothing(files: Path) -> None:
    (files / "key").write_text(evidence.STRANGER.vkey)
    assert verify(files)[0] == 1
