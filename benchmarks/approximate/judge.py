"""Is the judge to be believed? Qualification on real small models, many times over, and what each verifier says.

    python -m benchmarks.approximate.judge            a few minutes; writes benchmarks/results/approximate-judge.json
    python -m benchmarks.approximate.judge --quick    seconds; one world of each kind, no file
    python -m benchmarks.approximate.judge --plot docs/pictures/judge.svg

For digits and a Gaussian mixture, and for several draws of each: an original that learned flipped canaries, K = 19
oracles, one oracle more, and the five controls. Printed: the table of one qualification (model x axis), how often held-out
and further oracles pass and controls are refused on their axes over all draws, the literature's row beside it, KLoM with
its floor for 100 models a side, and the ending for plain records, on which nobody could see what was forgotten.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.approximate.canaries import Kitchen, Planted, digits, gaussian_mixture
from core.verification.answers import Evidence
from core.verification.equivalence import Outcome
from core.verification.oracles import judge_against_oracles
from core.verification.policy import CLASSIFIER, Axis
from core.verification.qualification import Control, Qualification, qualify
from core.verification.request import RequestEvidence, judge_request
from core.verification.verdict import Judgement
from core.verification.verifiers.average_gap import standard_row
from core.verification.verifiers.klom import klom
from core.verification.verifiers.membership import judged_non_member, standing_among_test
from core.verification.verifiers.tug_of_war import tug_of_war_interval

HOUSE = Path(__file__).resolve().parents[2]
RESULT = HOUSE / "benchmarks" / "results" / "approximate-judge.json"
WORLDS: Mapping[str, Callable[[int], Planted]] = {
    "digits": lambda seed: digits(seed=seed),
    "gaussian_mixture": lambda seed: gaussian_mixture(seed=seed),
}
ORACLES = 19
MODELS_FOR_KLOM = 100
MARKS = {Outcome.INSIDE: " ", Outcome.ABOVE: "^", Outcome.BELOW: "v", Outcome.UNDECIDED: "?"}


@dataclass(frozen=True)
class World:
    """One draw of data, its models, and the judge's own trial on them."""

    original: Evidence
    oracles: list[Evidence]
    one_more: Evidence
    controls: Mapping[Control, Evidence]
    qualification: Qualification
    one_more_judged: Judgement
    requests: Mapping[str, Judgement]


def build(planted: Planted) -> World:
    kitchen = Kitchen(planted)
    weights = kitchen.original()
    original = kitchen.evidence(weights)[0]
    *oracles, one_more = kitchen.evidence(kitchen.oracles(ORACLES + 1))
    controls = kitchen.controls(weights)

    def request(candidate: Evidence) -> Judgement:
        return judge_request(RequestEvidence(candidate, original, oracles[0], qualified=True), CLASSIFIER)

    return World(
        original=original,
        oracles=oracles,
        one_more=one_more,
        controls=controls,
        qualification=qualify(original, oracles=oracles, controls=controls, policy=CLASSIFIER),
        one_more_judged=judge_against_oracles(one_more, original=original, oracles=oracles, policy=CLASSIFIER),
        requests={name: request(model) for name, model in _named(one_more, original, controls).items()},
    )


def show(name: str, world: World) -> None:
    """Print one qualification: each cell is a gap to the oracles, marked when it lies outside or undecided."""
    axes = [*CLASSIFIER.oracle_margins]
    print(f"\n{name}: gaps to {ORACLES} oracles (^ above, v below the margin, ? undecided); margin in the first row")
    print(" " * 24 + "".join(f"{axis.value:>19}" for axis in axes) + "  rank p  ending")
    print(f"{'margin':24}" + "".join(f"{CLASSIFIER.oracle_margins[axis]:>18.2f} " for axis in axes))
    held_out = world.qualification.held_out
    spread = {axis: [_gap(judgement, axis) for judgement in held_out] for axis in axes}
    for label, pick in (("held-out, lowest", min), ("held-out, highest", max)):
        print(f"{label:24}" + "".join(f"{pick(spread[axis]):>+18.3f} " for axis in axes))
    for label, judgement in [("one more oracle", world.one_more_judged), *world.qualification.controls.items()]:
        cells = "".join(f"{_gap(judgement, axis):>+18.3f}{MARKS[judgement.finding(axis).outcome]}" for axis in axes)
        print(f"{label:24}{cells}{judgement.finding(Axis.RANK).value:>8.2f}  {judgement.ending.value}")
    rate = world.qualification.pass_rate
    assert rate is not None
    print(
        f"held-out oracles passed: {rate.estimate:.0%} of {ORACLES} (90 % interval {rate.low:.0%} to {rate.high:.0%}); "
        f"the judge is {world.qualification.standing.value}"
    )


def compact(qualification: Qualification) -> dict[str, Any]:
    """Return a qualification without the nineteen judgements of held-out oracles, of which only the extremes."""
    value = qualification.as_json()
    value["held_out"] = {
        axis.value: [pick(_gap(judgement, axis) for judgement in qualification.held_out) for pick in (min, max)]
        for axis in CLASSIFIER.oracle_margins
    }
    return {**value, "digest": qualification.digest()}


def rates(worlds: list[World]) -> dict[str, Any]:
    """Return how often each kind of model got what it deserves, over all draws."""
    held_out = [judgement.passed for world in worlds for judgement in world.qualification.held_out]
    return {
        "draws": len(worlds),
        "qualified": sum(world.qualification.qualified for world in worlds),
        "held_out_oracles_passed": [sum(held_out), len(held_out)],
        "one_more_oracle_passed": sum(world.one_more_judged.passed for world in worlds),
        "caught_on_its_axis": {
            control.value: sum(world.qualification.caught[control] for world in worlds) for control in Control
        },
        "request_passed_without_oracles": {
            name: sum(world.requests[name].passed for world in worlds) for name in worlds[0].requests
        },
        "spread_of_true_oracles": {
            "threshold_attack": _largest_spread(worlds, judged_non_member),
            "area_under_curve": _largest_spread(worlds, standing_among_test),
        },
    }


def literature(world: World) -> list[dict[str, Any]]:
    """Return the field's usual row and the tug of war, for every model."""
    rows = []
    for name, model in _named(world.one_more, world.original, world.controls).items():
        row = standard_row(model, world.oracles)
        tug = tug_of_war_interval(model, world.oracles)
        rows.append(
            {
                "model": name,
                "UA": row.unlearning_accuracy.estimate,
                "RA": row.retain_accuracy.estimate,
                "TA": row.test_accuracy.estimate,
                "MIA": float(judged_non_member(model).mean()),
                "AvgGap": row.average_gap.estimate,
                "AvgGap 90 %": [row.average_gap.low, row.average_gap.high],
                "ToW": tug.estimate,
                "ToW 90 %": [tug.low, tug.high],
            }
        )
    return rows


def divergences(planted: Planted, models: int) -> list[dict[str, Any]]:
    """Return KLoM of retrained, original and head-only models against as many oracles, beside its floor."""
    kitchen = Kitchen(planted)
    originals = kitchen.original(count=models)
    oracles = kitchen.evidence(kitchen.oracles(models, seed=11))
    others = {
        "retrained": kitchen.evidence(kitchen.oracles(models, seed=12)),
        "original": kitchen.evidence(originals),
        "head_only": kitchen.evidence(kitchen.head_only(originals)),
    }
    rows = []
    for name, evidence in others.items():
        for part in ("forget", "retain", "test"):
            mine, theirs = (np.stack([getattr(one, part).margin for one in side]) for side in (evidence, oracles))
            score = klom(mine, theirs)
            rows.append(
                {
                    "models": name,
                    "set": part,
                    "fit": score.fit.value,
                    "mean": score.mean.estimate,
                    "mean 90 %": [score.mean.low, score.mean.high],
                    "percentile_95": score.percentile_95,
                    "floor": score.floor_mean,
                }
            )
    return rows


def plain_records() -> Judgement:
    """Return the judgement of a true oracle where labels were not flipped."""
    return build(digits(flipped=False)).one_more_judged


def draw(world: World, file: Path) -> None:
    """Draw every model's gap on every axis as a share of the margin, so that the band is the same for all."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lethe"  # the same picture for the same figures
    import matplotlib.pyplot as plt

    axes = [*CLASSIFIER.oracle_margins]
    figure, plot = plt.subplots(figsize=(9, 4.2), layout="constrained")
    plot.axhspan(-1, 1, color="#dfeee0", label="inside the margin")
    for place, axis in enumerate(axes):
        gaps = [_gap(judgement, axis) / CLASSIFIER.oracle_margins[axis] for judgement in world.qualification.held_out]
        plot.scatter(
            np.full(len(gaps), place - 0.3), gaps, s=12, color="#555555", label=None if place else "held-out oracles"
        )
    colours = ("#b2182b", "#8073ac", "#e08214", "#2166ac")
    judged = {name: one for name, one in world.qualification.controls.items() if name is not Control.NO_OP}
    for number, (name, judgement) in enumerate(judged.items()):
        gaps = [_gap(judgement, axis) / CLASSIFIER.oracle_margins[axis] for axis in axes]
        places = np.arange(len(axes)) - 0.1 + 0.13 * number
        plot.scatter(places, gaps, s=34, marker="D", color=colours[number], label=name.value.replace("_", " "))
    plot.set_yscale("symlog", linthresh=1)
    marks = (-10, -3, -1, 0, 1, 3)
    plot.set_yticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
    plot.minorticks_off()
    plot.set_ylabel("gap to the oracles, in margins")
    plot.set_xticks(range(len(axes)), [axis.value.replace("_", "\n") for axis in axes])
    plot.axhline(0, color="#888888", linewidth=0.6)
    plot.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")
    print(f"drawn to {file}")


def main() -> int:
    """Run it all; the exit status says whether every draw was qualified and every wreck refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate.judge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one draw of each world, no KLoM, no file")
    parser.add_argument("--plot", type=Path, help="draw the digits' qualification to this file (SVG)")
    given = parser.parse_args()
    torch.set_num_threads(1)  # small products: more threads only wait for each other
    began = time.perf_counter()
    result: dict[str, Any] = {}
    for name, plant in WORLDS.items():
        worlds = [build(plant(seed)) for seed in range(1 if given.quick else 5)]
        show(name, worlds[0])
        result[name] = {"rates": rates(worlds), "literature": literature(worlds[0])}
        result[name]["qualification"] = compact(worlds[0].qualification)
        print(json.dumps(result[name]["rates"], indent=1))
        _table(result[name]["literature"])
        if not given.quick:
            result[name]["klom"] = divergences(plant(0), MODELS_FOR_KLOM)
            _table(result[name]["klom"])
        if given.plot and name == "digits":
            draw(worlds[0], given.plot)
    plain = plain_records()
    print(f"\nplain digits, a true oracle: {plain.ending.value} ({plain.reason})")
    result["plain_digits"] = plain.as_json()
    seconds = round(time.perf_counter() - began, 1)
    print(f"{seconds} s")
    if not given.quick:
        _write(result, seconds)
    return 0 if all(_sound(result[name]["rates"]) for name in WORLDS) else 1


def _named(one_more: Evidence, original: Evidence, controls: Mapping[Control, Evidence]) -> dict[str, Evidence]:
    made = {control.value: model for control, model in controls.items()}
    return {"one more oracle": one_more, Control.ORIGINAL.value: original, **made}


def _sound(counted: Mapping[str, Any]) -> bool:
    caught: Mapping[str, int] = counted["caught_on_its_axis"]
    return all(count == counted["draws"] for count in [counted["qualified"], *caught.values()])


def _gap(judgement: Judgement, axis: Axis) -> float:
    interval = judgement.finding(axis).interval
    assert interval is not None
    return interval.estimate


def _largest_spread(worlds: list[World], read: Callable[[Evidence], Any]) -> float:
    return round(max(float(np.ptp([read(oracle).mean() for oracle in world.oracles])) for world in worlds), 4)


def _table(rows: list[dict[str, Any]]) -> None:
    print()
    print("  ".join(f"{name:>18}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{_shown(value):>18}" for value in row.values()))


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(f"{number:.3f}" for number in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write(result: Mapping[str, Any], seconds: float) -> None:
    git = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    whole = {
        "benchmark": "approximate-judge",
        "command": "python -m benchmarks.approximate.judge",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git.stdout.strip() or "unknown",
        "seconds": seconds,
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in ("numpy", "torch", "scikit-learn")},
        },
        "policy": CLASSIFIER.as_json(),
        "policy_digest": CLASSIFIER.digest(),
        **result,
    }
    RESULT.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"written to {RESULT.relative_to(HOUSE)}")


if __name__ == "__main__":
    sys.exit(main())
