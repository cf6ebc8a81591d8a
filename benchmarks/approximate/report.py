"""What the benchmarks of methods share: several seeds as one table, what is printed of it, and the file that is kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.approximate.gate import SETTINGS, rounded
from core.domain.checkpoint import Training
from core.methods.card import Modality
from core.methods.menu import MENU
from core.modelling.determinism import environment
from core.modelling.plain_training import Lesson, taught
from core.unlearning.approximate.samples import Samples
from core.use_cases.compare_methods import Bench, Chosen, Subject, compare_methods, train_oracles

HOUSE = Path(__file__).resolve().parents[2]
RESULTS = HOUSE / "benchmarks" / "results"
DATA = Path(os.environ.get("LETHE_TEST_DATA", HOUSE.parent / "shared" / "data"))
"""Where public data sets lie, one directory each; a benchmark whose own is missing says so and measures nothing."""
FIGURES = ("unlearning", "retain", "test", "membership", "threshold_attack", "average_gap", "tug_of_war")
HEADINGS = ("UA", "RA", "TA", "area", "MIA", "AvgGap", "ToW")


def chosen_for(modality: Modality, training: Training, methods: Sequence[str] | None = None) -> list[Chosen]:
    """Return every method for a modality with the gate's settings, and retraining as the original was trained."""
    as_trained = {
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
    }
    names = [name for name, card in MENU.items() if modality in card.modalities]
    return [
        Chosen(method=name, settings=as_trained if name == "retrain" else SETTINGS.get(name, {}))
        for name in names
        if methods is None or name in methods
    ]


def over_seeds(
    subject: Subject,
    everything: Samples,
    methods: Sequence[Chosen],
    *,
    oracles: int,
    seeds: Sequence[int],
) -> tuple[dict[str, Any], Bench]:
    """Return one table over several originals, each trained and unlearned from a seed of its own; oracles are shared."""
    bench = train_oracles(subject, oracles, said)
    found = []
    for seed in seeds:
        original = taught(
            subject.build,
            subject.task.modality,
            everything.inputs,
            everything.targets,
            Lesson(training=subject.training, seed=seed),
        )
        task = replace(subject.task, model=original, training_epochs=subject.training.epochs)
        found.append(compare_methods(replace(subject, task=task), methods, bench, seed=seed, progress=said))
    return averaged(found), bench


def averaged(comparisons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over comparisons of the same methods, and how often the judge said what."""
    first = comparisons[0]
    methods = {
        one["method"]: {"settings": one["settings"]} | _row([each["methods"][number] for each in comparisons])
        for number, one in enumerate(first["methods"])
    }
    return {
        "modality": first["modality"],
        "rows": first["rows"],
        "seeds": [one["seed"] for one in comparisons],
        "policy_digest": first["policy"]["digest"],
        "scale": first["scale"],
        "oracles": first["oracles"],
        "models": {name: _row([one[name] for one in comparisons]) for name in ("original", "oracle")},
        "methods": methods,
    }


def _row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    refused = [one["refused"] for one in runs if "refused" in one]
    whole = [one for one in runs if "refused" not in one]
    endings = Counter([*refused, *(one["ending"] for one in whole)])
    row: dict[str, Any] = {"endings": dict(endings), "runs": len(runs)}
    if whole:
        fails = Counter(f"{axis}" for one in whole for axis in one["fails"])
        row |= {"fails": dict(fails)} | _means([one["figures"] for one in whole])
    if whole and "cost" in whole[0]:
        row |= _means([one["cost"] for one in whole])
    return row


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: None if None in column else statistics.mean(one for one in column if one is not None)
        for name, column in columns.items()
    }


def printed(title: str, found: Mapping[str, Any]) -> None:
    """Print one table."""
    rows, oracles = found["rows"], found["oracles"]
    print(f"\n{title}: {rows['forget']} of {rows['forget'] + rows['retain']} rows, {oracles['count']} oracles")
    print(f"  {'':31s} {' '.join(f'{one:>7s}' for one in HEADINGS)} {'share':>6s} {'s/s':>6s}  the judge says")
    print(f"  {'oracles, mean':31s} {_figures(oracles)}")
    every = {"original": found["models"]["original"], "one oracle more": found["models"]["oracle"], **found["methods"]}
    for name, row in every.items():
        shares = "".join(f" {row[one]:6.2f}" if row.get(one) is not None else " " * 7 for one in SHARES)
        words = ", ".join(f"{ending} {count}" for ending, count in row["endings"].items())
        print(f"  {name:31s} {_figures(row)}{shares}  {words}")


SHARES = ("retrain_share", "seconds_share")


def _figures(row: Mapping[str, Any]) -> str:
    return " ".join(f"{row[one]:7.2f}" if row.get(one) is not None else " " * 7 for one in FIGURES)


def said(share: float, now: str) -> None:
    """Tell on a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{share:5.0%} {now:40.40s}", end="", file=sys.stderr, flush=True)


def arguments(name: str, description: str | None) -> argparse.Namespace:
    """Return what the command line says: `--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.approximate.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="few rows, oracles and methods: does it work")
    parser.add_argument("--json", type=Path, help="where to write the result")
    return parser.parse_args()


def data_set(name: str) -> Path:
    """Return the directory of a public data set, or end with the reason why nothing is measured."""
    if not (DATA / name).is_dir():
        sys.exit(f"{DATA / name} is not here, so there is nothing to measure; LETHE_TEST_DATA names the place")
    return DATA / name


def kept(name: str, given: argparse.Namespace, found: Mapping[str, Any], seconds: float) -> None:
    """Write the result where it belongs; a quick run leaves none unless told where."""
    target = given.json or (None if given.quick else RESULTS / f"approximate-{name}.json")
    if target is None:
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    whole = {
        "benchmark": f"approximate-{name}",
        "command": f"python -m benchmarks.approximate.{name}" + (" --quick" if given.quick else ""),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or "unknown",
        "seconds": round(seconds, 1),
        "load": [round(one, 1) for one in os.getloadavg()],
        "python": platform.python_version(),
        "environment": environment(),
        **rounded(dict(found)),
    }
    target.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"\nwritten to {target}")


def passes(found: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return whether the judge passed a method in every seed."""
    return lambda name: found["methods"][name]["endings"].get("passed", 0) == found["methods"][name]["runs"]
