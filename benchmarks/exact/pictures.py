"""The plots of the streams, as PNG in `docs/pictures`: only full runs draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.service.report import HOUSE

COLOURS = ("#d1701c", "#7a7a7a", "#2f8f4e", "#1f5fa8", "#8a4fb0")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.35,
}
SMOOTHED = 10
"""The active share is drawn as the mean of so many deletions."""


def draw_race(name: str, title: str, curves: Mapping[str, Mapping[str, Any]], lines: Mapping[str, float]) -> Path:
    """Draw accuracy and active share over a stream; return where the picture lies.

    Args:
        name: of the file, without ending.
        title: what the stream ran on.
        curves: per rival what `race.curves` gives.
        lines: accuracies that do not change, by what they are of.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 3.9), dpi=90, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for colour, (rival, curve) in zip(COLOURS, curves.items(), strict=False):
            numbers, values = zip(*curve["accuracy"], strict=True)
            left.plot(numbers, [100 * value for value in values], "-o", color=colour, markersize=3, label=rival)
            shares = _smoothed(curve["active_after_hit"])
            right.plot(range(1, len(shares) + 1), [100 * value for value in shares], color=colour, label=rival)
        for dash, (what, value) in zip(("--", ":"), lines.items(), strict=False):
            left.axhline(100 * value, color="black", linewidth=1.0, linestyle=dash, label=what)
        left.set(xlabel="deletions", ylabel="accuracy after repair, %")
        left.set_title(title, loc="left", fontsize=9)
        right.set(xlabel="deletions", ylabel="active share just after a hit, %", ylim=(0, 102))
        right.set_title(f"mean of the last {SMOOTHED} deletions", loc="left", fontsize=9)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        return _saved(figure, name)


def draw_growth(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the build's seconds and a deletion's decision over the records, both on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.4), dpi=90, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        records = [row["records"] for row in rows]
        axes.loglog(
            records, [row["build s"] for row in rows], "-o", color=COLOURS[3], label="building the lattice, seconds"
        )
        axes.loglog(
            records,
            [row["E1 ms"] for row in rows],
            "-o",
            color=COLOURS[0],
            label="a deletion's E1 in one process, milliseconds",
        )
        axes.set(xlabel="records")
        axes.legend(frameon=False, fontsize=8)
        return _saved(figure, name)


def _smoothed(values: Sequence[float]) -> list[float]:
    found = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - SMOOTHED) : end]
        found.append(sum(part) / len(part))
    return found


def _saved(figure: Any, name: str) -> Path:
    path = HOUSE / "docs" / "pictures" / f"{name}.png"
    figure.savefig(path, format="png", metadata={"Software": None})
    return path
