"""One stream of deletions for all rivals, each with a lattice of its own on the same rows, backbone and recipe.

    owner leaves ─▶ every rival: hit ─▶ share just after it ─▶ credit, repair ─▶ share after it ─▶ at checkpoints: accuracy

The yardstick is the sharded ensemble that nobody was deleted from; at the end a fresh one on what is left stands beside it,
which tells what the lost rows cost from what the policies cost.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.exact.pictures import draw_race
from benchmarks.exact.policies import Lattice, Rival
from benchmarks.exact.world import World, accuracy, draw_owners, public_accuracy
from benchmarks.service.report import HOUSE, Run, finish, table, verdict
from core.domain.model import FamilyName
from core.modelling.determinism import environment

SEED = 11
BUDGET = 2.8
"""Slice-epochs per deletion."""
SHARE_GOAL, POINTS_GOAL = 0.60, 1.0


@dataclass
class Lap:
    """What one rival showed over the stream."""

    rival: Rival
    budget: float
    after_hit: list[float] = field(default_factory=list)
    after_repair: list[float] = field(default_factory=list)
    some_shard_dead: list[bool] = field(default_factory=list)
    accuracies: list[tuple[int, float]] = field(default_factory=list)
    """Deletions so far, and the accuracy of what serves after the repair that these paid for."""
    accuracies_after_hit: list[tuple[int, float]] = field(default_factory=list)


def race(
    world: World,
    entries: Sequence[tuple[Callable[[World], Rival], float]],
    *,
    deletions: int,
    look_every: int,
) -> tuple[list[Lap], dict[str, Any]]:
    """Run the stream; return what every rival showed, and what belongs to none of them.

    Args:
        world: nobody was forgotten in it yet.
        entries: rivals and their credits in slice-epochs per deletion.
        deletions: how many owners leave.
        look_every: deletions between two looks at the accuracy.
    """
    began = time.perf_counter()
    laps = [Lap(make(world), budget) for make, budget in entries]
    yardstick = _fresh(world)
    for lap in laps:
        lap.accuracies.append((0, _accuracy(world, lap.rival)))
    records = world.records
    for number, owner in enumerate(draw_owners(world, deletions, SEED), start=1):
        where, look = world.forget(owner), number % look_every == 0
        for lap in laps:
            lattice = lap.rival.lattice
            lattice.hit(where)
            lap.after_hit.append(lattice.active_share)
            lap.some_shard_dead.append(0 in lattice.depths)
            if look:
                lap.accuracies_after_hit.append((number, _accuracy(world, lap.rival)))
            lap.rival.repair(where, lap.budget)
            lap.after_repair.append(lattice.active_share)
            if look:
                lap.accuracies.append((number, _accuracy(world, lap.rival)))
        if look:
            print(f"  {number} of {deletions} deletions, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    facts = {
        "accuracy_undeleted_ensemble": round(yardstick, 4),
        "accuracy_fresh_ensemble_on_what_is_left": round(_fresh(world), 4),
        "accuracy_public_head": round(public_accuracy(world.problem, world.recipe.node), 4),
        "records_before": records,
        "records_after": world.records,
        "nodes_trained": world.trained,
        "training_seconds": round(world.seconds, 1),
        "seconds": round(time.perf_counter() - began, 1),
    }
    return laps, facts


def voted(world: World, rival: Rival) -> Tensor:
    """Return (n, outputs) logits of what a rival serves; none, (n, 0), when every shard is dead."""
    votes, weights = [], []
    for keys, depth in zip(rival.lattice.served, rival.lattice.depths, strict=True):
        if keys:
            chosen = keys if rival.by_depth else keys[:1]
            votes.append(torch.stack([world.answers(key) for key in chosen]).mean(dim=0))
            weights.append(float(depth) if rival.by_depth else 1.0)
    if not votes:
        return torch.zeros(len(world.problem.held_out), 0)
    return torch.stack([weight * vote for weight, vote in zip(weights, votes, strict=True)]).sum(dim=0) / sum(weights)


def row(lap: Lap, yardstick: float) -> dict[str, Any]:
    """Return one rival's line of the table."""
    accuracies = [value for _, value in lap.accuracies[1:]]
    mean = statistics.fmean(accuracies)
    return {
        "policy": lap.rival.name,
        "credit": lap.budget,
        "built": lap.rival.build_charge,
        "spent/deletion": round(lap.rival.lattice.charged / len(lap.after_hit), 2),
        "active after hit": round(statistics.fmean(lap.after_hit), 3),
        "after repair": round(statistics.fmean(lap.after_repair), 3),
        "a shard dead": round(statistics.fmean(lap.some_shard_dead), 3),
        "accuracy": round(mean, 4),
        "after hit": round(statistics.fmean(value for _, value in lap.accuracies_after_hit), 4),
        "lowest": round(min(accuracies), 4),
        "last": round(accuracies[-1], 4),
        "points below": round(100 * (yardstick - mean), 2),
    }


def report(run: Run, world: World, laps: Sequence[Lap], facts: Mapping[str, Any], *, picture: str | None) -> None:
    """Print the table and what became of the goals, draw the picture, and write the file."""
    yardstick = facts["accuracy_undeleted_ensemble"]
    rows = [row(lap, yardstick) for lap in laps]
    table(rows)
    print(
        "credit, built, spent: slice-epochs; accuracy: mean of the looks after repair, then of those just after the hit\n"
    )
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value}")
    shown = {lap.rival.name: curves(lap) for lap in laps}
    if picture is not None:
        lines = {"sharded, nobody deleted": yardstick, "backbone's public head": facts["accuracy_public_head"]}
        title = f"{world.problem.name}, {world.recipe.shards} shards of {world.recipe.slices}"
        print(f"drawn to {draw_race(picture, title, shown, lines).relative_to(HOUSE)}")
    result = {
        "data": world.problem.note,
        "recipe": world.recipe.as_json(),
        "deletions": len(laps[0].after_hit),
        "rows": rows,
        "facts": facts,
        "goals": _goals(rows),
        "environment": environment(),
        "curves": shown,
    }
    finish(run, result)


def _goals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    published = rows[0]
    found = []
    for one in rows:
        if one["policy"].startswith("Lethe"):
            credit = f"{one['credit']:g} slice-epochs per deletion"
            share = f"{credit}: active just after a hit at least {SHARE_GOAL:.2f} ({one['active after hit']}; S3T as published "
            share += f"{published['active after hit']} for {published['spent/deletion']})"
            points = f"{credit}: within {POINTS_GOAL:g} point of the undeleted ensemble ({one['points below']})"
            found.append(verdict(share, met=one["active after hit"] >= SHARE_GOAL))
            found.append(verdict(points, met=one["points below"] <= POINTS_GOAL))
    return found


def curves(lap: Lap) -> dict[str, Any]:
    """Return one rival's curves for the file and the plot."""
    return {
        "active_after_hit": [round(value, 3) for value in lap.after_hit],
        "active_after_repair": [round(value, 3) for value in lap.after_repair],
        "accuracy": [(number, round(value, 4)) for number, value in lap.accuracies],
        "accuracy_after_hit": [(number, round(value, 4)) for number, value in lap.accuracies_after_hit],
    }


def _accuracy(world: World, rival: Rival) -> float:
    logits = voted(world, rival)
    return accuracy(logits, world.problem) if logits.shape[1] else public_accuracy(world.problem, world.recipe.node)


def _fresh(world: World) -> float:
    """Return the accuracy of a fresh chain in every shard, at full depth, voting alike."""
    return _accuracy(world, Rival("", Lattice(world, FamilyName.CHAIN), 0.0, lambda *_: None, by_depth=True))
