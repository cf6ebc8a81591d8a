"""The pictures of `lethe plan`, as PNG: how lattices decay without repair, and what a repair budget buys."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from core.lattice.planner.plan import curve_of
from core.lattice.planner.question import PlanQuestion
from core.lattice.planner.repair import Upkeep, simulate

COLOURS = ("#1f5fa8", "#d1701c", "#2f8f4e", "#8a4fb0", "#7a7a7a")
DASHES = ("-", "--", "-.", ":", (0, (1, 1)))
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.35,
}
WIDTH, HEIGHT, DOTS_PER_INCH = 10.0, 3.4, 90
BUDGETS = 9
"""Points of the right-hand picture, up to what repairing all of it at once would cost."""


def draw_plan(question: PlanQuestion, beside: Sequence[PlanQuestion]) -> bytes:
    """Return a PNG: on the left the active share over deletions of all in `beside`, on the right budgets of `question`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        decay, repair = figure.subplots(1, 2)
        _draw_decay(decay, beside)
        _draw_repair(repair, question)
        content = io.BytesIO()
        # Without the version of matplotlib in it, the same plan is the same file.
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _draw_decay(axes: Any, questions: Sequence[PlanQuestion]) -> None:
    for number, question in enumerate(questions):
        points = curve_of(question)
        axes.plot(
            [0, *(point.deletions for point in points)],
            [100.0, *(100 * point.active_share for point in points)],
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            label=question.name,
        )
    axes.set(xlabel="deletions, nothing repaired", ylabel="active share, %", ylim=(0, 102), xlim=(0, None))
    axes.set_title(f"{questions[0].shards} shards of {questions[0].slices} slices", loc="left", fontsize=9)
    axes.legend(frameon=False)


def _draw_repair(axes: Any, question: PlanQuestion) -> None:
    from core.lattice.planner.costs import costs_of

    most = costs_of(question).slice_epochs_per_hit
    # Closer together where they are small, as that is where they matter.
    budgets = [most * ((number + 1) / BUDGETS) ** 2 for number in range(BUDGETS)]
    streams = [simulate(question, Upkeep.EXTEND_THEN_FAMILY, budget) for budget in budgets]
    for number, (name, shares) in enumerate(
        {
            "just after a deletion": [one.active_share_after_hit for one in streams],
            "after its repair": [one.active_share_after_repair for one in streams],
            "some shard dead, just after": [one.some_shard_dead_after_hit for one in streams],
        }.items()
    ):
        axes.plot(
            budgets, [100 * share for share in shares], color=COLOURS[number], linestyle=DASHES[number], label=name
        )
    axes.set(xlabel="repair budget, slice-epochs per deletion", ylabel="%", ylim=(0, 102), xlim=(0, None))
    axes.set_title(f"{question.name}, repaired", loc="left", fontsize=9)
    axes.legend(frameon=False)
