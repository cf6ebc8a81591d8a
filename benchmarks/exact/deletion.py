"""E1 against retraining: from a client's POST to the first answer without the person, beside two trainings without them.

An embedded service learns Fashion-MNIST with its default lattice; then owners are forgotten one after another while a witness
asks the predictor. Repair is switched off for the deployment, so that nothing trains meanwhile: `benchmarks.service.end_to_end`
measures E1 while something does. Then the shard that the last deletion struck, and one unsharded model on everything that is
left, are really trained again, as chains of stages: same backbone, rows, recipe, epochs and thread count as the nodes.

The ratios use a training's processor seconds where its wall time is longer: on a busy machine its waiting must not count for us.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.exact.data import folder
from benchmarks.service.report import Run, arguments, finish, spread, table, verdict, warn_if_busy
from cli.client import Client
from cli.demo_arrays import read_arrays
from cli.demo_comparison import Retrained, compare
from cli.demo_data import IDENTITY_TYPE, DemoData, chosen_owners, digits, divide
from cli.demo_evidence import open_archive, read_manifests
from cli.demo_steps import Stage, measure, register, until, wait_for_predictor, wait_until_built
from cli.demo_witness import Witness
from cli.serve import background
from core.domain.model import BackboneRecipe, NodeRecipe, Recipe

GOAL = 1000
PATIENCE = 60.0
COLUMNS = {"images": "images", "labels": "labels", "owners": "owners", "record_ids": "record_ids", "public": "public"}


def main() -> None:
    """Build, forget, retrain, and print the ratios."""
    run = arguments("deletion", "E1 against retraining the SISA shard and everything", room="exact")
    warn_if_busy()
    data, recipe = _task(run)
    with tempfile.TemporaryDirectory(prefix="lethe-benchmark-") as directory:
        service = Path(directory) / "lethe"
        with background(service, LETHE_LOG_LEVEL="warning", LETHE_REPAIR="false") as running:
            with (
                Client(running.url, running.admin_key, running.predictor_url) as client,
                Client(running.url, running.admin_key, running.predictor_url) as second,
            ):
                stage, samples, facts = _forgotten(run, client, second, data, recipe, Path(directory))
            retrained = _retrained(
                service, stage, [one["shard"] for one in samples if one["shard"] is not None][-1], data
            )
    _report(run, samples, facts, retrained, recipe)


def _task(run: Run) -> tuple[DemoData, Recipe]:
    if run.quick:
        backbone = BackboneRecipe(width=16, heads=2, layers=2, patch=2, epochs=2)
        return digits(), Recipe(shards=2, slices=2, backbone=backbone, node=NodeRecipe(rank=4, epochs=1))
    found = folder("fashion-mnist")
    if found is None:
        raise SystemExit("Fashion-MNIST is not here: name the folder that holds fashion-mnist/ in LETHE_BENCHMARK_DATA")
    files = {role: (found / f"train20k-{role}-idx{axes}-ubyte.gz") for role, axes in (("images", 3), ("labels", 1))}
    contents = {role: path.read_bytes() for role, path in files.items()}
    arrays = read_arrays(contents, COLUMNS, name="Fashion-MNIST", pixels=(None, None), rows=None)
    data = divide(arrays, public_rows=2000, invented=400, word="owner-")
    return data, Recipe(shards=5, slices=4, backbone=BackboneRecipe(epochs=8), node=NodeRecipe(epochs=6))


def _forgotten(  # noqa: PLR0913, PLR0917 - two connections, what to learn, and where
    run: Run, client: Client, second: Client, data: DemoData, recipe: Recipe, directory: Path
) -> tuple[Stage, list[dict[str, Any]], dict[str, Any]]:
    began = time.perf_counter()
    stage = register(client, data, recipe, "served", open_archive(client, directory))
    wait_until_built(stage, lambda *_: None)
    wait_for_predictor(stage)
    facts: dict[str, Any] = {"build_seconds": round(time.perf_counter() - began, 1), "nodes": stage.nodes_total}
    facts |= {"records": int((~data.public).sum()), "owners": data.private_owners, "accuracy": measure(stage).accuracy}
    print(f"built in {facts['build_seconds']} s", file=sys.stderr)
    with Witness(second, stage.notes, stage.model, data.questions(0, 1)[0]) as witness:
        time.sleep(run.pick(2.0, 0.5))
        owners = chosen_owners(data.deletable, run.pick(30, 4))
        samples = [_forget(stage, witness, owner) for owner in owners]
    facts |= {"stale": stage.notes.stale, "failed": len(stage.notes.failures), "load_meanwhile": os.getloadavg()[0]}
    return stage, samples, facts | {"accuracy_after": measure(stage).accuracy}


def _forget(stage: Stage, witness: Witness, owner: str) -> dict[str, Any]:
    client, notes, before = stage.client, stage.notes, stage.notes.newest
    subject = {"identities": [{"identity_type": IDENTITY_TYPE, "identity_value": owner}]}
    with witness.hurrying():
        began = time.perf_counter()
        receipt = client.post("/v1/deletion-requests", {"subject": subject}, idempotency_key=os.urandom(8).hex())
        seen = notes.wait_above(before, seconds=PATIENCE)
    if seen is None:
        raise SystemExit("the predictor still answers from the version before; nothing is measured")

    def completed() -> dict[str, Any] | None:
        request = client.get(f"/v1/deletion-requests/{receipt['id']}")
        return request if request["state"] == "completed" else None

    until(completed, PATIENCE, "the request was not completed in time")
    time.sleep(0.2)
    return {
        "milliseconds": round(1000 * (seen[1] - began), 2),
        "records": receipt["records"],
        "shard": _struck(stage, before, seen[0]),
    }


def _struck(stage: Stage, before: int, after: int) -> int | None:
    """Return the shard that serves less since; None when the owner's slice had been switched off before."""
    manifests = read_manifests(stage.client, stage.model, (before, after))
    pairs = zip(manifests[before].served, manifests[after].served, strict=True)
    return next((shard for shard, (old, new) in enumerate(pairs) if old != new), None)


def _retrained(service: Path, stage: Stage, shard: int, data: DemoData) -> dict[str, Any]:
    """Train both again; processor seconds are noted stage by stage."""
    marks: dict[str, float] = {}
    began = time.process_time()

    def note(_: float, what: str) -> None:
        marks[what] = time.process_time()

    found = compare(service, stage.model, shard, data, note)
    shard_seconds, whole_seconds = marks["SISA shard"] - began, marks["full model"] - marks["SISA shard"]
    return {
        # What is noted of the shard includes reading its rows, which its wall time does not.
        "shard": _taken(found.shard, shard_seconds),
        "whole": _taken(found.whole, whole_seconds),
        "accuracy_of_one_unsharded_model": found.whole.accuracy,
        "environment": found.environment,
    }


def _taken(one: Retrained, processor: float) -> dict[str, Any]:
    return {"records": one.records, "wall": one.seconds, "seconds": round(min(processor, one.seconds), 2)}


def _report(
    run: Run, samples: list[dict[str, Any]], facts: dict[str, Any], retrained: dict[str, Any], recipe: Recipe
) -> None:
    milliseconds = [one["milliseconds"] for one in samples]
    median = statistics.median(milliseconds)
    rows = [
        {
            "what": "E1: POST to the first answer without the person",
            "seconds": round(median / 1000, 4),
            "wall": None,
            "ratio": 1.0,
        },
        *(
            {
                "what": f"retraining {name} ({retrained[part]['records']:,} records)",
                "seconds": retrained[part]["seconds"],
                "wall": retrained[part]["wall"],
                "ratio": round(1000 * retrained[part]["seconds"] / median, 1),
            }
            for part, name in (("shard", "the affected SISA shard"), ("whole", "everything, unsharded"))
        ),
    ]
    table(rows)
    print(f"seconds: median of {len(samples)} deletions; of a training its processor's. wall: what it took here\n")
    whole = rows[-1]["ratio"]
    goals = [verdict(f"full retraining takes at least {GOAL:,} times E1 ({whole:,.0f})", met=whole >= GOAL)]
    finish(
        run,
        {
            "rows": rows,
            "E1_milliseconds": spread(milliseconds),
            "facts": facts,
            "retrained": retrained,
            "recipe": recipe.as_json(),
            "goals": goals,
            "samples": samples,
        },
    )


if __name__ == "__main__":
    main()
