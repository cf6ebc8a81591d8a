"""The picture of a comparison: one line per method, one column per question, the oracles as a band. As SVG and as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from cli.compare_words import ranked, title_of
from cli.demo_plots import FAINT, FIRST, GRID, INK, SECOND, STYLE, THIRD, inline_svg

Result = Mapping[str, Any]
PRINT_COLOURS = {
    INK: "#1d2327",
    FAINT: "#5b6670",
    GRID: "#d9dde0",
    FIRST: "#1f6f8b",
    SECOND: "#c2571a",
    THIRD: "#5a6b2f",
}
WIDTH, ROW, FRAME = 9.6, 0.27, 1.2
"""Inches: the whole, one line, and what stands above and below."""
COLUMNS = (
    ("unlearning", "forgotten, %"),
    ("retain", "kept rows, %"),
    ("test", "new rows, %"),
    ("membership", "membership"),
)


def figures_svg(result: Result) -> str:
    """Return the picture as an SVG element in the page's own colours."""
    figure = _drawn(result, {})
    names = ", ".join(title for _, title in COLUMNS)
    return inline_svg(figure, "figures", f"Each method beside the oracles: {names}, and its cost")


def figures_png(result: Result) -> bytes:
    """Return the picture as PNG; equal results give equal files."""
    import matplotlib as mpl

    with mpl.rc_context({"savefig.facecolor": "white"}):
        figure = _drawn(result, PRINT_COLOURS)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130, metadata={"Software": None})
    return content.getvalue()


def _drawn(result: Result, colours: Mapping[str, str]) -> Any:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style = {name: colours.get(value, value) if isinstance(value, str) else value for name, value in STYLE.items()}
    shown = [one for one in ranked(list(result["methods"])) if "refused" not in one]
    lines = [{"method": "nothing done", **result["original"]}, *shown]
    with mpl.rc_context({**style, "axes.spines.left": False}):
        figure = Figure(figsize=(WIDTH, FRAME + ROW * len(lines)), layout=ConstrainedLayoutEngine(wspace=0.06))
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(COLUMNS) + 1, sharey=True)
        for panel, (name, title) in zip(panels, COLUMNS, strict=False):
            _column(panel, lines, name, result["oracles"], colours)
            panel.set_title(title, fontsize=9.5, loc="left")
        _costs(panels[-1], lines, colours)
        panels[0].set_yticks(range(len(lines)), [title_of(one["method"]) for one in lines])
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        for panel in panels:
            panel.tick_params(axis="y", length=0, labelcolor=colours.get(INK, INK))
            panel.grid(axis="y", visible=False)
    return figure


def _column(panel: Any, lines: list[dict[str, Any]], name: str, oracles: Result, colours: Mapping[str, str]) -> None:
    low, high = oracles["spread"][name]
    third = colours.get(THIRD, THIRD)
    panel.axvspan(low, high, color=third, alpha=0.18, linewidth=0)
    panel.axvline(oracles[name], color=third, linewidth=1.2)
    values = [one["figures"][name] for one in lines]
    for place, (one, value) in enumerate(zip(lines, values, strict=True)):
        _dot(panel, value, place, one, colours)
    low, high = min(*values, low), max(*values, high)
    room = max(1.0, 0.08 * (high - low))
    panel.set_xlim(low - room, high + room)


def _costs(panel: Any, lines: list[dict[str, Any]], colours: Mapping[str, str]) -> None:
    panel.axvline(1.0, color=colours.get(THIRD, THIRD), linewidth=1.2)
    for place, one in enumerate(lines):
        share = one.get("cost", {}).get("retrain_share")
        if share:
            _dot(panel, share, place, one, colours)
    panel.set_xscale("log")
    panel.set_xticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
    panel.set_xlim(0.01, 4)
    panel.minorticks_off()
    panel.set_title("cost of a retrain", fontsize=9.5, loc="left")


def _dot(panel: Any, value: float, place: int, one: Result, colours: Mapping[str, str]) -> None:
    passed = one["ending"] == "passed"
    colour = FIRST if passed else SECOND
    colour = colours.get(colour, colour)
    panel.plot(
        value, place, "o" if passed else "D", color=colour, markersize=6 if passed else 4.5,
        markerfacecolor=colour if passed else "none", clip_on=False,
    )  # fmt: skip
