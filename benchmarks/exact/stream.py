"""200 people leave, one after another: how good is what is served meanwhile, for the same training?

Fashion-MNIST, a vision transformer of width 64 and 4 layers, 5 shards of 4 slices. Every rival starts from a whole lattice and
is credited 2.8 slice-epochs per deletion, save those that restart: S3T as published and SISA without repair do nothing
until all is dead, and then pay for everything at once, so they are charged what their policy takes. What was built at the
start is charged to nobody in `spent/deletion` and stands in a column of its own. Lethe is shown with more credit as well,
for what it takes to come within a point of the ensemble that nobody left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.exact.data import fashion
from benchmarks.exact.policies import Rival, lethe, published_s3t, sisa_retrain, sisa_serve_prefix
from benchmarks.exact.race import BUDGET, race, report
from benchmarks.exact.world import World
from benchmarks.service.report import Run, arguments, warn_if_busy
from core.domain.model import NodeRecipe, Recipe
from core.modelling.determinism import pinned

AMPLE = 8.0


def main() -> None:
    """Run the stream and print all rivals."""
    run = arguments("stream", "200 deletions on Fashion-MNIST: ours, S3T and SISA at equal slice-epochs", room="exact")
    warn_if_busy()
    pinned(1)
    world = _world(run)
    deletions, look_every = run.pick((200, 20), (16, 8))
    entries: list[tuple[Callable[[World], Rival], float]] = [
        (published_s3t, BUDGET),
        (sisa_serve_prefix, BUDGET),
        (sisa_retrain, BUDGET),
        (lethe, BUDGET),
        (partial(lethe, name=f"Lethe with {AMPLE:g}"), AMPLE),
    ]
    laps, facts = race(world, entries, deletions=deletions, look_every=look_every)
    report(run, world, laps, facts, picture=None if run.quick else "stream-fashion-mnist")


def _world(run: Run) -> World:
    images, epochs = run.pick((4000, 3), (240, 1))
    problem = fashion(
        images=images,
        each=2,
        public=run.pick(500, 100),
        held_out=run.pick(2000, 200),
        epochs=run.pick(30, 3),
        quick=run.quick,
    )
    recipe = Recipe(shards=run.pick(5, 2), slices=4, backbone=problem.recipe, node=NodeRecipe(epochs=epochs))
    return World(problem, recipe)


if __name__ == "__main__":
    main()
