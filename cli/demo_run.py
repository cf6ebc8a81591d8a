"""One run of the demo, from a service that is ready to the numbers that the report shows."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cli.client import Client
from cli.demo_data import DemoData, chosen_owners
from cli.demo_evidence import Archive, check_log, collect_repaired, open_archive, read_manifests
from cli.demo_steps import Stage, forget, measure, register, until, wait_for_predictor, wait_until_built
from cli.demo_timeline import Deletion, dead_nodes_served, ratio, summed_up
from cli.demo_witness import Witness
from cli.output import progress, say
from core.domain.model import Recipe


@dataclass(frozen=True, kw_only=True)
class Target:
    """The service that the demo runs against."""

    url: str
    predictor_url: str
    key: str
    directory: Path
    """Where evidence is kept."""
    base: Path | None = None
    """The directory that the model stands on, where it came ready."""
    service: Path | None
    """The service's data directory; None: it is elsewhere, and nothing can be retrained for comparison."""

    def client(self) -> Client:
        return Client(self.url, self.key, self.predictor_url)


def run(target: Target, data: DemoData, recipe: Recipe, *, deletions: int, name: str) -> dict[str, Any]:
    """Do everything and return the outcome as `--json` prints it.

    Raises:
        CommandFailed, LetheError: a step came to nothing; the sentence says which and why.
    """
    began = time.monotonic()
    if target.base is not None:
        recipe = replace(recipe, backbone=replace(recipe.backbone, directory=str(target.base), tokens=data.tokens_read))
    with target.client() as client, target.client() as second:
        archive = open_archive(client, target.directory)
        owners = chosen_owners(data.deletable, deletions)
        data = data.leaving_out(owners)
        stage, build_seconds = _built(client, data, recipe, name, archive)
        question = data.questions(0, 1)[0]
        with Witness(second, stage.notes, stage.model, question) as witness:
            before = measure(stage).accuracy
            epoch = time.perf_counter()
            done = _stream(stage, witness, owners, epoch)
        evidence = _evidence(client, stage, done) | _served(client, stage, epoch)
        result = _outcome(stage, done, before=before, build_seconds=build_seconds) | evidence
    result |= _compared(target, stage, done, result["e1_milliseconds"])
    return result | {"wall_seconds": round(time.monotonic() - began, 1), "finished_at": datetime.now(UTC).isoformat()}


def _built(client: Client, data: DemoData, recipe: Recipe, name: str, archive: Archive) -> tuple[Stage, float]:
    say(f"Uploading {len(data.answers)} rows of {data.private_owners} owners and registering the model …")
    began = time.monotonic()
    stage = register(client, data, recipe, name, archive)
    with progress(f"Training the backbone and {stage.nodes_total} nodes") as show:
        wait_until_built(stage, show)
    wait_for_predictor(stage)
    seconds = round(time.monotonic() - began, 1)
    say(f"Backbone and {stage.nodes_total} nodes are trained ({seconds:g} s).")
    return stage, seconds


def _stream(stage: Stage, witness: Witness, owners: list[str], epoch: float) -> list[Deletion]:
    done: list[Deletion] = []
    with progress(f"Forgetting {len(owners)} owners, one after another") as show:
        for number, owner in enumerate(owners, start=1):
            show((number - 1) / len(owners), f"deletion {number} of {len(owners)}")
            done.append(forget(stage, witness, owner, number=number, epoch=epoch))
    say(f"{len(owners)} owners are forgotten, and everything that is served is repaired.")
    return done


def _evidence(client: Client, stage: Stage, done: list[Deletion]) -> dict[str, Any]:
    archive = stage.archive
    with progress("Fetching and verifying evidence") as show:
        collect_repaired(client, archive, done, until, show)
        verdict, entries = check_log(client, archive)
    last = archive.kept[-1]
    say(
        f"{sum(one.verified for one in archive.kept)} of {len(archive.kept)} certificates and {entries} log entries verified."
    )
    return {
        "log_verified": verdict.valid and not verdict.asserted,
        "log": {"entries": entries, "failures": verdict.failures, "not_covered": verdict.asserted},
        "evidence_example": {"path": last.path, "proved": list(last.proved), "asserted": list(last.asserted)},
    }


def _served(client: Client, stage: Stage, epoch: float) -> dict[str, Any]:
    """Look at every manifest that was answered from: did it name a dead node, and how deep did it serve, since when?"""
    seen, recipe = stage.notes.first_seen, stage.recipe
    manifests = read_manifests(client, stage.model, seen)
    keys = {number: frozenset(node.key for node in manifest.nodes) for number, manifest in manifests.items()}
    return {
        "manifests_checked": len(manifests),
        "dead_nodes_served": dead_nodes_served(stage.archive.dead_since, keys),
        "served": [
            {
                "manifest": number,
                "seconds": round(max(0.0, seen[number] - epoch), 2),
                "active_share": round(sum(manifest.depths()) / (recipe.shards * recipe.slices), 4),
            }
            for number, manifest in manifests.items()
        ],
    }


def _outcome(stage: Stage, deletions: list[Deletion], *, before: float, build_seconds: float) -> dict[str, Any]:
    notes, data = stage.notes, stage.data
    return summed_up(deletions, sorted(stage.archive.kept, key=lambda one: (one.guarantee, one.deletion))) | {
        "accuracy_before": round(before, 4),
        "nodes_total": stage.nodes_total,
        "predictions_answered": notes.answered,
        "predictions_failed": len(notes.failures),
        "predictions_stale": notes.stale,
        "predictions_longest_milliseconds": round(notes.longest * 1000, 1),
        "build_seconds": build_seconds,
        "recipe": stage.recipe.as_json(),
        "data": {
            "name": data.name,
            "rules": list(data.rules),
            "records": int((~data.public).sum()),
            "public_records": int(data.public.sum()),
            "owners": data.private_owners,
            "held_out": len(data.held_out_answers),
            "task": data.task,
            "own_base": data.base is not None,
        },
    }


def _compared(target: Target, stage: Stage, done: list[Deletion], e1: float) -> dict[str, Any]:
    """Retrain for comparison; without the service's data directory say why not."""
    environment = {"lethe": version("lethe"), "python": platform.python_version(), "cores": os.cpu_count()}
    if target.service is None:
        reason = "the service runs elsewhere, and its rows and backbone can only be read in its data directory"
        missing = dict.fromkeys(
            ("sisa_retrain", "full_retrain", "sisa_retrain_seconds", "full_retrain_seconds", "ratio_sisa", "ratio_full")
        )
        accuracies = {"accuracy_unsharded": None, "accuracy_public": None, "trainer_threads": None}
        return {**missing, **accuracies, "comparison_skipped": reason, "environment": environment}
    from cli.demo_comparison import compare

    with progress("Retraining for comparison") as show:
        found = compare(target.service, stage.model, done[-1].shard, stage.data, show)
    return {
        "accuracy_unsharded": round(found.whole.accuracy, 4),
        "accuracy_public": round(found.accuracy_public, 4),
        "sisa_retrain": asdict(found.shard),
        "full_retrain": asdict(found.whole),
        "sisa_retrain_seconds": found.shard.seconds,
        "full_retrain_seconds": found.whole.seconds,
        "ratio_sisa": ratio(found.shard.seconds, e1),
        "ratio_full": ratio(found.whole.seconds, e1),
        "trainer_threads": found.environment["threads"],
        "comparison_skipped": None,
        "environment": environment | found.environment,
    }
