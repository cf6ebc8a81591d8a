"""Growth with the records: building what serves, really trained, against a deletion's E1 in this process.

What is built is the chain to full depth of every shard; a whole subset trie of four slices takes 3.2 times as long. E1 is taken
as in `benchmarks.service.deletion_growth`, intake and the transaction that switches nodes off, on a lattice of as many declared
records: training is not part of it, so it has no reason to grow, and 10^6 records are measured there.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Any

from benchmarks.exact.data import fashion
from benchmarks.exact.pictures import draw_growth
from benchmarks.exact.policies import Lattice
from benchmarks.exact.world import World
from benchmarks.service import deletion_growth
from benchmarks.service.declared import analyse, declare
from benchmarks.service.report import HOUSE, arguments, finish, table, verdict, warn_if_busy
from benchmarks.service.scratch import scratch, server
from core.domain.model import FamilyName, NodeRecipe, Recipe
from core.modelling.determinism import environment, pinned

FLAT = 1.5


def main() -> None:
    """Build and delete at each size, and print both."""
    run = arguments("growth", "build time and E1 as the records grow", room="exact")
    warn_if_busy()
    pinned(1)
    sizes = run.pick((1000, 2000, 4000, 8000, 16000), (240, 480))
    recipe = Recipe(shards=run.pick(5, 2), slices=4, node=NodeRecipe(epochs=run.pick(2, 1)))
    e1 = _e1(sizes, run.pick(20, 3))
    rows: list[dict[str, Any]] = []
    for size in sizes:
        problem = fashion(
            images=size, each=10, public=run.pick(500, 100), held_out=10, epochs=run.pick(5, 1), quick=run.quick
        )
        rows.append({"records": size, "build s": _built(World(problem, recipe)), "E1 ms": e1[size]})
    for row in rows:
        row["build ratio"] = round(row["build s"] / rows[0]["build s"], 2)
        row["E1 ratio"] = round(row["E1 ms"] / rows[0]["E1 ms"], 2)
        row["build / E1"] = round(1000 * row["build s"] / row["E1 ms"])
    table(rows)
    print("ratios: to the first line\n")
    worst = max(row["E1 ratio"] for row in rows)
    goals = [verdict(f"E1 does not grow with what is trained: ratio at most {FLAT} ({worst:g})", met=worst <= FLAT)]
    if not run.quick:
        print(f"drawn to {draw_growth('growth-of-build-and-deletion', rows).relative_to(HOUSE)}")
    finish(run, {"recipe": recipe.as_json(), "rows": rows, "goals": goals, "environment": environment()})


def _built(world: World) -> float:
    for keys in Lattice(world, FamilyName.CHAIN).served:
        world.chain(keys[0])
    return round(world.seconds, 2)


def _e1(sizes: tuple[int, ...], samples: int) -> dict[int, float]:
    """Return the median milliseconds to E1 at each size; the databases take turns."""
    with server() as on, ExitStack() as stack:
        worlds = {}
        for size in sizes:
            ours = stack.enter_context(scratch(on))
            declared = declare(ours, owners=size // deletion_growth.ROWS_EACH, rows_each=deletion_growth.ROWS_EACH)
            analyse(ours)
            worlds[size] = deletion_growth.World(f"{size:,} records", ours, declared)
        for owner in range(samples + 3):
            for world in worlds.values():
                if owner == 3:  # the first ones prepare statements and fill caches
                    world.times.clear()
                world.sample(owner)
        return {size: round(statistics.median(world.times["E1"]), 2) for size, world in worlds.items()}


if __name__ == "__main__":
    main()
