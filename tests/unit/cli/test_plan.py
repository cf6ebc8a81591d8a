from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

RUN = CliRunner()
SMALL = ["plan", "--shards", "5", "--slices", "4"]


def test_a_plan_as_json_has_its_main_numbers_on_top() -> None:
    done = RUN.invoke(app, [*SMALL, "--family", "cyclic", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["deletions_to_first_dead"] == pytest.approx(19.3, abs=0.05)
    assert found["deletions_to_all_dead"] == pytest.approx(72.0, abs=0.05)
    assert all(isinstance(found[name], int | float) for name in ("nodes", "slice_epochs", "forward_passes"))


def test_a_plan_for_people_compares_families_and_draws_them(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    done = RUN.invoke(app, [*SMALL, "--compare", "--repair-budget", "2.8", "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    assert "greedy_trie" in done.stdout
    assert "repair.active_share_after_hit" in done.stdout
    first = picture.read_bytes()
    assert first.startswith(b"\x89PNG")
    RUN.invoke(app, [*SMALL, "--compare", "--repair-budget", "2.8", "--plot", str(picture)])
    assert picture.read_bytes() == first


def test_a_prior_reaches_the_family_and_the_hits() -> None:
    skewed = ["--hits", "skewed", "--weights", "8,1,1,1", "--json"]
    blind = json.loads(RUN.invoke(app, [*SMALL, "--family", "chain", *skewed]).stdout)
    prior = ["--family", "prior", "--family-budget", "1", "--family-prior", "8,1,1,1"]
    told = json.loads(RUN.invoke(app, [*SMALL, *prior, *skewed]).stdout)
    assert told["curve"][2]["active_share"] > 1.2 * blind["curve"][2]["active_share"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--family", "nonsense"], "--family must be one of chain"),
        (["--family", "chain", "--family-budget", "2"], "take a budget"),
        (["--family", "prior", "--family-rule", "nonsense"], "--family-rule must be one of matching"),
        (["--family", "prior", "--family-prior", "1,x"], "--family-prior takes numbers"),
        (["--hits", "nonsense"], "--hits must be one of uniform"),
        (["--hits", "skewed"], "weights belong to skewed hits"),
        (["--hits", "skewed", "--weights", "1,2", "--skew", "1"], "not both"),
        (["--repair-budget", "-1"], "repair_budget must lie"),
        (["--plot", "/nowhere/plan.png"], "cannot be written"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(options: list[str], sentence: str) -> None:
    done = RUN.invoke(app, [*SMALL, *options])
    assert done.exit_code == 2
    assert sentence in done.stderr
    as_json = RUN.invoke(app, [*SMALL, *options, "--json"])
    assert sentence in json.loads(as_json.stdout)["error"]["detail"]


def test_a_picture_needs_what_the_demo_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "cli.extras.find_spec", lambda name: None if name == "matplotlib" else importlib.util.find_spec(name)
    )
    done = RUN.invoke(app, [*SMALL, "--plot", str(tmp_path / "plan.png")])
    assert done.exit_code == 1
    assert "pip install 'lethe[demo]'" in done.stderr
