"""The demo clears away an earlier demo, and nothing else."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from cli import demo_directory
from cli.output import CommandFailed


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    demo_directory.claim(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "certificates").is_dir()


def test_somebody_elses_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CommandFailed, match="not empty and not from an earlier demo"):
        demo_directory.claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_demo_is_cleared_away_and_what_lies_beside_it_stays(tmp_path: Path) -> None:
    demo_directory.claim(tmp_path)
    (tmp_path / "certificates" / "001.json").write_text("old")
    (tmp_path / "service").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    demo_directory.claim(tmp_path)
    assert not list((tmp_path / "certificates").iterdir())
    assert not (tmp_path / "service").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_service_that_still_runs_is_not_pulled_from_under_itself(tmp_path: Path) -> None:
    demo_directory.claim(tmp_path)
    (tmp_path / "service").mkdir()
    with (tmp_path / "service" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CommandFailed, match="still runs"):
            demo_directory.claim(tmp_path)
    assert (tmp_path / "service").exists()


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match="cannot be used"):
        demo_directory.claim(tmp_path / "file")
