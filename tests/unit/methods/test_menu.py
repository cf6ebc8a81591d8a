"""The cards: found by name or alias, complete, bounded, and refusing models that cannot give what they need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from core.domain.errors import BadInput, MethodNeedsUnmet, MethodNotFound
from core.methods import describe
from core.methods.card import Modality, Need, RequestKind, knob_of
from core.methods.describe import CostClass
from core.methods.measured import RETRAIN_SHARES
from core.methods.menu import ALIASES, MENU, find

HOUSE = Path(__file__).resolve().parents[3]
EVERYTHING = frozenset(Need)


def test_a_method_is_found_by_its_name_and_its_aliases() -> None:
    assert find("negative_preference") is find("npo") is MENU["negative_preference"]
    assert find("ssd").name == "selective_synaptic_dampening"
    with pytest.raises(MethodNotFound):
        find("nop")


def test_no_alias_means_two_methods() -> None:
    every = [alias for card in MENU.values() for alias in card.aliases]
    assert len(every) == len(set(every)) == len(ALIASES)
    assert not set(every) & set(MENU)


@pytest.mark.parametrize("name", MENU)
def test_a_card_says_all_there_is_to_say(name: str) -> None:
    card = MENU[name]
    assert card.name == name
    assert Path(HOUSE / "core" / "methods" / f"{name}.py").exists()
    assert Path(HOUSE / "core" / "unlearning" / "approximate" / "methods" / f"{name}.py").exists()
    for text in (card.title, card.summary, card.paper, card.formula, card.cost, card.weakness):
        assert text
    assert card.modalities
    assert card.summary.endswith(".")


@pytest.mark.parametrize("name", MENU)
def test_every_setting_has_a_sentence_and_refuses_what_is_out_of_bounds(name: str) -> None:
    card = MENU[name]
    card.settings_from({})
    for one in fields(card.settings):
        knob = knob_of(one)
        assert knob.sentence.endswith(".")
        if one.default.__class__ in (int, float):
            assert max(knob.at_least, knob.above) > float("-inf"), "a number has a lower bound"
            assert knob.at_most < float("inf"), "and an upper one"
            for wrong in (
                knob.at_most * 2 + 1,
                min(knob.at_least, 0) - 1 if knob.at_least > float("-inf") else knob.above,
            ):
                with pytest.raises(BadInput) as refused:
                    card.settings_from({one.name: type(one.default)(wrong)})
                assert refused.value.flaws[0].pointer == f"/{one.name}"
            for other in ("1", None, True):
                with pytest.raises(BadInput):
                    card.settings_from({one.name: other})
        elif knob.choices:
            with pytest.raises(BadInput):
                card.settings_from({one.name: "neither"})


def test_a_whole_number_will_do_where_a_fraction_is_asked_for_and_infinity_never() -> None:
    assert find("npo").settings_from({"beta": 1}).as_json()["beta"] == 1
    with pytest.raises(BadInput):
        find("npo").settings_from({"beta": float("nan")})
    with pytest.raises(BadInput):
        find("npo").settings_from({"epochs": 1.5})


def test_an_unknown_setting_is_refused_and_not_said_again() -> None:
    with pytest.raises(BadInput, match="and nothing else") as refused:
        find("npo").settings_from({"jane.doe@example.org": 0.1})
    [flaw] = refused.value.flaws
    assert (flaw.pointer, flaw.code) == ("/(unknown setting)", "unknown_setting")
    assert "jane" not in str(refused.value)


@pytest.mark.parametrize("name", MENU)
def test_a_model_that_lacks_a_need_is_refused_with_its_name(name: str) -> None:
    card = MENU[name]
    modality = min(card.modalities)
    card.check(modality, offered=EVERYTHING, artefacts=card.artefacts)
    for need in card.needs:
        with pytest.raises(MethodNeedsUnmet, match=need.value):
            card.check(modality, offered=EVERYTHING - {need}, artefacts=card.artefacts)
    for artefact in card.artefacts:
        with pytest.raises(MethodNeedsUnmet, match=artefact):
            card.check(modality, offered=EVERYTHING, artefacts=frozenset())
    for other in set(Modality) - card.modalities:
        with pytest.raises(MethodNeedsUnmet, match="works on"):
            card.check(other, offered=EVERYTHING, artefacts=card.artefacts)


def test_only_misdirection_suppresses_a_concept() -> None:
    found = [name for name, card in MENU.items() if card.kind is RequestKind.CONCEPT_SUPPRESSION]
    assert found == ["representation_misdirection"]


def test_the_menu_is_read_without_torch() -> None:
    check = "import sys, core.methods.menu; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=HOUSE, check=False).returncode == 0


@pytest.mark.parametrize("name", MENU)
def test_the_page_of_a_method_tells_what_its_card_says(name: str) -> None:
    card = MENU[name]
    page = (HOUSE / "docs" / "methods" / f"{name}.md").read_text()
    for text in (card.title, card.summary, card.paper, card.formula, card.cost, card.weakness):
        assert text in page
    for one in fields(card.settings):
        assert re.search(rf"^\| `{one.name}` \|", page, re.MULTILINE), "a row for every setting"


def test_what_methods_cost_is_what_the_gate_measured() -> None:
    gate = json.loads((HOUSE / "benchmarks" / "results" / "approximate-gate.json").read_text())
    for name in MENU:
        found = {world: one["methods"].get(name, {}).get("retrain_share") for world, one in gate["worlds"].items()}
        measured = {world: share for world, share in found.items() if share is not None}
        assert RETRAIN_SHARES[name] == pytest.approx(measured, rel=0.06), "run benchmarks.approximate.pages"


def test_a_cost_class_goes_by_the_dearest_world(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"a": {"x": 0.1}, "b": {"x": 0.1, "y": 0.11}, "c": {"x": 1.0}, "d": {"x": 1.01}, "e": {}}
    monkeypatch.setattr(describe, "RETRAIN_SHARES", shares)
    found = [describe.cost_class(name) for name in "abcdef"]
    assert found == [CostClass.LOW, CostClass.MEDIUM, CostClass.HIGH, CostClass.RETRAIN, None, None]
