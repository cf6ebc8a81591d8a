"""The benchmarks of methods in their quick form, and the pages that are written from their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.approximate import pages, report, tofu
from benchmarks.approximate.gate import RESULT, check, judged_wrongly
from core.methods.menu import MENU

HOUSE = Path(__file__).resolve().parents[3]
DATA_SETS = {"fashion": "fashion-mnist", "tofu": "tofu", "parkinsons": "parkinsons-telemonitoring"}


def run(name: str, *options: str, data: Path = report.DATA) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.approximate.{name}", *options]
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "LETHE_TEST_DATA": str(data)}
    return subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_SETS)
def test_the_quick_form_measures_and_writes_where_it_is_told(name: str, tmp_path: Path) -> None:
    if not (report.DATA / DATA_SETS[name]).is_dir():
        pytest.skip(f"{DATA_SETS[name]} is not here")
    done = run(name, "--quick", "--json", str(tmp_path / "result.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["command"].endswith("--quick")
    tables: list[dict[str, Any]] = list(found["scenarios"].values()) if name == "fashion" else [found]
    for one in tables:
        assert {"retrain"} < set(one["methods"])
        assert one["methods"]["retrain"]["retrain_share"] > 0
        assert one["oracles"]["count"] >= 2


@pytest.mark.parametrize("name", DATA_SETS)
def test_without_its_data_a_benchmark_says_so(name: str, tmp_path: Path) -> None:
    done = run(name, data=tmp_path)
    assert done.returncode != 0
    assert DATA_SETS[name] in done.stderr
    assert "nothing to measure" in done.stderr


def test_pages_show_what_the_judge_said() -> None:
    row: dict[str, Any] = {"endings": {"passed": 3}, "retrain_share": 0.25}
    mixed: dict[str, Any] = {"endings": {"passed": 1, "failed_under_forgot": 2}, "retrain_share": 0.5}
    scene = {
        "original": {"endings": {"no_effect": 1}},
        "scrub": row,
        "salun": mixed,
        "retrain": {"refused": "diverged"},
    }
    text = pages.verdicts({"first": scene})
    lines = {line.split("|")[1].strip(): line for line in text.splitlines()}
    assert lines["[SCRUB](methods/scrub.md)"].endswith("| **passed** | 0.25 |")
    assert "passed (1), remembers (2)" in lines["[SalUn](methods/salun.md)"]
    assert "diverged" in lines["[Retrain](methods/retrain.md)"]
    assert "no effect" in lines["nothing done"]


def test_pages_are_those_of_the_kept_figures() -> None:
    gate = json.loads(RESULT.read_text())
    assert pages.verdicts(pages.scenes(gate)) in (HOUSE / "docs" / "comparing.md").read_text()
    for card in MENU.values():
        assert (HOUSE / "docs" / "methods" / f"{card.name}.md").read_text() == pages.page(card, gate)
    assert pages.MEASURED.read_text() == pages.shares(gate)


def judged(**endings: int) -> dict[str, Any]:
    return {"endings": endings, "gap": 1.0, "tow": 1.0}


def test_the_gate_notices_a_judge_that_does_not_do_its_duty() -> None:
    rows = {
        "original": judged(no_effect=1),
        "one oracle more": judged(passed=1),
        "gradient_ascent, no floor": {"refused": "diverged"},
    }
    assert judged_wrongly("world", rows) == []
    assert judged_wrongly("world", rows | {"original": judged(passed=1)})
    assert judged_wrongly("world", rows | {"original": judged(underpowered=1)})
    assert judged_wrongly("world", rows | {"one oracle more": judged(failed_over_forgot=1)})
    assert judged_wrongly("world", rows | {"gradient_ascent, no floor": judged(passed=1)})


def test_the_gate_notices_orderings_that_do_not_hold() -> None:
    gate = json.loads(RESULT.read_text())
    worlds = gate["worlds"]
    close = {"datamodel_matching": 2.0, "gradient_ascent": 1.0, "other oracle": 0.1, "original": 9.0}
    assert any("nearer to the oracles" in sentence for sentence in check({}, close))
    far = {"datamodel_matching": 1.0, "gradient_ascent": 2.0, "other oracle": 8.0, "original": 9.0}
    assert any("oracles are no nearer" in sentence for sentence in check({}, far))
    fine = {"datamodel_matching": 1.0, "gradient_ascent": 2.0, "other oracle": 0.1, "original": 9.0}
    for name, world in worlds.items():
        original = world["methods"]["original"] | {"endings": {"no_effect": 1}}
        retrain = world["methods"]["retrain"] | {"gap": 1e3, "tow": 0.0}
        methods = world["methods"] | {"original": original, "one oracle more": judged(passed=1), "retrain": retrain}
        assert any("floor" in sentence for sentence in check({name: world | {"methods": methods}}, fine))


def test_the_longest_common_subsequence_keeps_the_order() -> None:
    assert tofu.common(["a", "b", "c", "d"], ["x", "b", "d", "a"]) == 2
    assert tofu.common([], ["a"]) == 0
    assert tofu.common(["a", "b"], ["a", "b"]) == 2


def test_effect_sizes_have_the_sign_of_what_is_surer() -> None:
    low, high = np.exp(np.linspace(-3, -1, 40)), np.exp(np.linspace(0, 2, 40))
    assert tofu.cohens_d(low, high) < -2
    assert tofu.cohens_d(high, high) == 0
