"""40 authors leave, one after another: the stream of `stream.py` on newsgroup posts, seen through MiniLM.

As there, but 1,200 private posts, 3 epochs a node, and MiniLM as it was published: only factors and heads learn here. MiniLM has 6
layers, so each of 4 stages trains one, and the two at the bottom stay frozen.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.exact.data import newsgroups
from benchmarks.exact.policies import Rival, lethe, published_s3t, sisa_retrain, sisa_serve_prefix
from benchmarks.exact.race import BUDGET, race, report
from benchmarks.exact.world import World
from benchmarks.service.report import arguments, warn_if_busy
from core.domain.model import NodeRecipe, Recipe
from core.modelling.determinism import pinned


def main() -> None:
    """Run the stream and print all rivals."""
    run = arguments("texts", "40 deletions on newsgroup posts: ours, S3T and SISA at equal slice-epochs", room="exact")
    warn_if_busy()
    pinned(1)
    problem = newsgroups(
        posts=run.pick(1200, 150),
        public=run.pick(600, 60),
        held_out=run.pick(300, 40),
        tokens=run.pick(16, 6),
    )
    recipe = Recipe(shards=run.pick(5, 2), slices=4, backbone=problem.recipe, node=NodeRecipe(epochs=run.pick(3, 1)))
    world = World(problem, recipe)
    entries: list[tuple[Callable[[World], Rival], float]] = [
        (published_s3t, BUDGET),
        (sisa_serve_prefix, BUDGET),
        (sisa_retrain, BUDGET),
        (lethe, BUDGET),
    ]
    laps, facts = race(world, entries, deletions=run.pick(40, 4), look_every=run.pick(20, 2))
    report(run, world, laps, facts, picture=None if run.quick else "stream-newsgroups")


if __name__ == "__main__":
    main()
