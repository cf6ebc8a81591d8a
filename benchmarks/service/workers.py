"""Building a lattice with 1, 2 and 4 training processes: each worker is a process of its own that trains one node at a time.

Every round builds the same model from nothing in a database of its own, on the same rows under the same keys, so the
content of the version that goes live must be the same to the bit. Timed from the moment the backbone is there to the
last node, on the database's clock.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.service import pictures
from benchmarks.service.report import HOUSE, Run, arguments, finish, table, verdict, warn_if_busy
from benchmarks.service.scratch import Scratch, processor_seconds, scratch, server
from cli.processes import lethe
from core.domain.access import Caller, Scope
from core.domain.model import BackboneRecipe, Guarantee, NodeRecipe, Recipe
from core.lattice.families import build_family
from core.persistence import job_questions, jobs, versions
from core.use_cases.answer_once import OnceKey
from core.use_cases.doors import DEFAULT_TENANT
from core.use_cases.register_dataset import register_dataset
from core.use_cases.register_model import ModelOrder, register_model

CALLER = Caller(tenant_id=DEFAULT_TENANT, key_id="ak_benchmark", scopes=frozenset(Scope))
NOTHING = OnceKey(route="benchmark", key=None, body=b"")
BUILD_SECONDS = 280.0
WARM_SECONDS = 30.0
"""How long workers may take to load torch ahead of their first job, which is no part of building a lattice."""


def main() -> None:
    """Build with each number of workers and print the speed-ups."""
    run = arguments("workers", "building a lattice with 1, 2, 4 worker processes")
    warn_if_busy()
    numbers = run.pick((1, 2, 4), (1, 2))
    recipe, owners, rows_each = _size(run)
    nodes = recipe.shards * len(build_family(recipe.family, recipe.slices).parents)
    rounds: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    with server() as on:
        for _ in range(run.pick(2, 1)):
            for number in numbers:
                with scratch(on) as ours:
                    rounds[number].append(_build(ours, number, recipe, pictures.packed(owners, rows_each)))
                    version = ours.server
    digests = {one["content"] for found in rounds.values() for one in found}
    assert len(digests) == 1, f"the content differs between rounds: {digests}"
    alone = statistics.median(one["seconds"] for one in rounds[numbers[0]])
    rows = []
    for number, found in rounds.items():
        seconds = statistics.median(one["seconds"] for one in found)
        rows.append(
            {
                "": f"{number} worker{'s' * (number > 1)}",
                "seconds": round(seconds, 2),
                "least": round(min(one["seconds"] for one in found), 2),
                "nodes/s": round(nodes / seconds, 2),
                "speed-up": round(alone / seconds, 3),
                "rounds": len(found),
            }
        )
    table(rows)
    cores = os.cpu_count() or 1
    print(f"{nodes} nodes, {cores} cores, one trainer thread each; content {digests.pop()[:16]}… in every round\n")
    best, possible = max(row["speed-up"] for row in rows), min(cores, numbers[-1])
    goals = [
        verdict(f"at least 0.75 of the {possible} x that {cores} cores allow ({best})", met=best >= 0.75 * possible)
    ]
    finish(
        run,
        {
            "server": version,
            "nodes": nodes,
            "records": owners * rows_each,
            "recipe": recipe.as_json(),
            "ratio": {row[""]: row["speed-up"] for row in rows},
            "rows": rows,
            "rounds": {str(number): found for number, found in rounds.items()},
            "goals": goals,
        },
    )


def _size(run: Run) -> tuple[Recipe, int, int]:
    node = NodeRecipe(epochs=run.pick(8, 1), batch_size=32)
    backbone = BackboneRecipe(width=run.pick(64, 8), heads=2, layers=4, patch=2, epochs=1)
    shards, slices = run.pick((3, 4), (1, 3))
    return Recipe(shards=shards, slices=slices, backbone=backbone, node=node), run.pick(96, 24), run.pick(40, 2)


def _build(ours: Scratch, workers: int, recipe: Recipe, content: bytes) -> dict[str, Any]:
    doors = ours.doors
    register_dataset("pictures", pictures.SCHEMA, {"file": content}, caller=CALLER, once=NOTHING, doors=doors)
    with _workers(ours, workers) as running:
        _wait_until_idle([process.pid for process in running])
        order = ModelOrder(name="model", dataset="pictures", recipe=recipe, placement_key=bytes(range(32)))
        model = register_model(order, caller=CALLER, once=NOTHING, doors=doors).body["id"]
        give_up = time.monotonic() + BUILD_SECONDS
        while not (found := _built(ours, model)):
            if time.monotonic() > give_up:
                raise SystemExit(f"{workers} workers did not build the model in {BUILD_SECONDS:.0f} seconds")
            time.sleep(0.2)
    return found


def _built(ours: Scratch, model: str) -> dict[str, Any] | None:
    with ours.doors.database.transaction() as session:
        version = versions.live_version(session, model)
        work = job_questions.list_jobs(session, DEFAULT_TENANT, limit=100_000, after=None, model_id=model)
    if any(job.state in ("failed", "dead") for job in work):
        raise SystemExit("a job ended badly; nothing is measured")
    if version is None or version.guarantee != Guarantee.RETRAIN_EQUIVALENT or any(not job.finished_at for job in work):
        return None
    began = next(job.finished_at for job in work if job.kind == "build")
    ended = max(job.finished_at for job in work)
    return {
        "seconds": round((ended - began).total_seconds(), 3),
        "content": version.manifest_digest,
        "jobs": len(work),
        "workers_that_worked": _who_worked(ours),
    }


def _who_worked(ours: Scratch) -> int:
    from sqlalchemy import distinct, func, select

    with ours.doors.database.transaction() as session:
        return int(session.execute(select(func.count(distinct(jobs.job_attempts.c.worker)))).scalar_one())


def _wait_until_idle(pids: list[int]) -> None:
    """Return when the workers and what they started have stopped computing: everything is loaded."""
    give_up, before = time.monotonic() + WARM_SECONDS, -1.0
    while time.monotonic() < give_up:
        time.sleep(1)
        used = processor_seconds(pids)
        if 0 <= used - before < 0.1 and before > len(pids):  # loading torch alone takes each more than a second
            return
        before = used


@contextmanager
def _workers(ours: Scratch, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    variables = {**ours.variables, "LETHE_COMPUTE_SLOTS": "1", "LETHE_BROKER_URL": "", "LETHE_LOG_LEVEL": "error"}
    environment = {**os.environ, **variables, "PYTHONPATH": str(HOUSE)}
    running = [
        subprocess.Popen(lethe("worker"), env=environment, cwd=HOUSE, stdin=subprocess.DEVNULL, stderr=sys.stderr)
        for _ in range(number)
    ]
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
