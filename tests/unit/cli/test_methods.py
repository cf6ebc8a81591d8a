"""`lethe methods`: the whole menu, one card, and a sentence for what is not on it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.methods.menu import MENU

RUN = CliRunner()


def test_the_list_names_every_method_with_its_aliases_and_its_cost() -> None:
    done = RUN.invoke(app, ["methods"])
    assert done.exit_code == 0, done.output
    for card in MENU.values():
        [line] = [line for line in done.stdout.splitlines() if line.split()[:1] == [card.name]]
        assert all(alias in line for alias in card.aliases)
    found = json.loads(RUN.invoke(app, ["methods", "--json"]).stdout)
    assert [one["name"] for one in found] == list(MENU)


@pytest.mark.parametrize("name", [*MENU, "npo"])
def test_a_card_is_explained_with_settings_bounds_paper_and_weakness(name: str) -> None:
    found = json.loads(RUN.invoke(app, ["methods", name, "--json"]).stdout)
    card = MENU[found["name"]]
    assert found["known_weakness"] == card.weakness
    assert found["paper"] == card.paper
    assert {one["name"]: one["default"] for one in found["settings"]} == card.settings().as_json()
    shown = RUN.invoke(app, ["methods", name])
    assert shown.exit_code == 0, shown.output
    for text in (card.paper, card.weakness, *(one["meaning"] for one in found["settings"])):
        assert text in " ".join(shown.stdout.split())


def test_a_modality_narrows_the_list() -> None:
    found = json.loads(RUN.invoke(app, ["methods", "--modality", "regressor", "--json"]).stdout)
    assert "blindspot" in {one["name"] for one in found}
    assert "scrub" not in {one["name"] for one in found}


def test_what_is_not_on_the_menu_is_one_sentence() -> None:
    assert "no method of that name" in RUN.invoke(app, ["methods", "nop"]).stderr
    done = RUN.invoke(app, ["methods", "--modality", "nonsense"])
    assert done.exit_code == 2
    assert "--modality must be one of classifier" in done.stderr


def test_it_needs_no_torch() -> None:
    check = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "done = CliRunner().invoke(app, ['methods', 'scrub']); sys.exit(done.exit_code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
