"""What shards cost: accuracy and time of m = 1, 3, 5, 10 shards of 4 slices, against one unsharded model.

Everybody's rows, the same backbone, node recipe and epochs throughout. A lattice of one shard served at full depth is one
chain of stages on everything: the very model that stands for "retraining everything" in `deletion.py`. Above it stands plain
fine-tuning, the same factors on all layers at once and on all rows, for as many passes over the rows as the chain makes.
Only the chain to full depth is trained, which is all that is served before a deletion; what the rest of a lattice costs is counted.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from benchmarks.exact.data import fashion
from benchmarks.exact.policies import Lattice, Rival
from benchmarks.exact.race import voted
from benchmarks.exact.world import World, accuracy, public_accuracy
from benchmarks.service.report import arguments, finish, table, warn_if_busy
from core.domain.model import FamilyName, NodeRecipe, Recipe
from core.lattice.cost import slice_epochs
from core.lattice.families import build_family
from core.modelling.determinism import environment, pinned

SLICES = 4


def main() -> None:
    """Train each and print."""
    run = arguments("sharding", "what shards cost against one unsharded model", room="exact")
    warn_if_busy()
    pinned(1)
    images, epochs = run.pick((4000, 3), (240, 1))
    problem = fashion(
        images=images,
        each=2,
        public=run.pick(500, 100),
        held_out=run.pick(4000, 200),
        epochs=run.pick(30, 3),
        quick=run.quick,
    )
    recipe = Recipe(shards=1, slices=SLICES, backbone=problem.recipe, node=NodeRecipe(epochs=epochs))
    one = World(problem, replace(recipe, slices=1, node=replace(recipe.node, epochs=epochs * _passes() // SLICES)))
    worlds = [World(problem, replace(recipe, shards=shards)) for shards in run.pick((1, 3, 5, 10), (1, 3))]
    rows = [_measured("all layers at once", one)]
    rows += [_measured(f"{world.recipe.shards} x {SLICES}, stage by stage", world) for world in worlds]
    unsharded = next(row for row in rows if row["shards"] == 1 and row["slices"] == SLICES)
    for row in rows:
        row["points below"] = round(100 * (unsharded["accuracy"] - row["accuracy"]), 2)
        row["time"] = round(row["seconds"] / unsharded["seconds"], 2)
    table(rows)
    head = round(public_accuracy(problem, recipe.node), 4)
    print(
        f"points below, time: against one shard of {SLICES} slices, the unsharded model of the same recipe and budget"
    )
    print(
        f"ask ms: for one held-out row, asked {len(problem.held_out)} at a time; the public head's accuracy is {head}\n"
    )
    whole = slice_epochs(build_family(FamilyName.SUBSET_TRIE, SLICES).parents) / _passes()
    print(f"building all nodes of the subset trie takes {whole:.1f} times the chain, whatever m is\n")
    finish(
        run,
        {
            "data": problem.note,
            "recipe": recipe.as_json(),
            "rows": rows,
            "accuracy_public_head": head,
            "trie_in_times_of_the_chain": whole,
            "environment": environment(),
        },
    )


def _passes() -> int:
    return slice_epochs(build_family(FamilyName.CHAIN, SLICES).parents)


def _measured(name: str, world: World) -> dict[str, Any]:
    rival = Rival(name, Lattice(world, FamilyName.CHAIN), 0.0, lambda *_: None, by_depth=True)
    for keys in rival.lattice.served:
        world.chain(keys[0])
    began = time.process_time()
    logits = voted(world, rival)
    asked = time.process_time() - began
    return {
        "lattice": name,
        "shards": world.recipe.shards,
        "slices": world.recipe.slices,
        "rows per shard": len(world.problem.private) // world.recipe.shards,
        "accuracy": round(accuracy(logits, world.problem), 4),
        "seconds": round(world.seconds, 1),
        "ask ms": round(1000 * asked / len(world.problem.held_out), 3),
    }


if __name__ == "__main__":
    main()
