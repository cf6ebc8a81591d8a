"""Signs of life: fresh while a loop turns, old when it hangs, and gone with its process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core import pulse


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pulse, "_last", {})
    return tmp_path / f"lethe-pulse-{os.getuid()}"


def test_there_is_silence_where_nothing_runs() -> None:
    assert pulse.silence("worker") is None


def test_the_quietest_loop_counts(directory: Path) -> None:
    pulse.beat("worker", "upkeep")
    pulse.beat("worker", "compute")
    pulse.beat("dispatcher", "sweep")
    hung = directory / f"worker.{os.getpid()}.compute"
    old = hung.stat().st_mtime - 1000
    os.utime(hung, (old, old))
    assert (pulse.silence("worker") or 0) >= 1000
    assert (pulse.silence("dispatcher") or 0) < 500


def test_a_loop_that_goes_on_is_heard_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "FEWEST_SECONDS_BETWEEN_BEATS", 0.0)
    pulse.beat("worker", "compute")
    file = directory / f"worker.{os.getpid()}.compute"
    os.utime(file, (1, 1))
    pulse.beat("worker", "compute")
    assert (pulse.silence("worker") or 0) < 500


def test_the_dead_say_nothing(directory: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    pulse.beat("worker", "compute")
    (directory / f"worker.{os.getpid()}.compute").rename(directory / f"worker.{dead.pid}.compute")
    assert pulse.silence("worker") is None
    assert list(directory.iterdir()) == []


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    pulse.beat("worker", "compute")
    assert pulse.silence("worker") is None
