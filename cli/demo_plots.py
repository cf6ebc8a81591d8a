"""The report's pictures as inline SVG: text stays text, and every colour is a variable of the page, so dark mode works.

matplotlib is drawn with stand-in colours, which are replaced in the finished SVG by the page's own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cli.demo_score import word_of

INK, FAINT, GRID = "#010101", "#020202", "#030303"
FIRST, SECOND, THIRD = "#010203", "#010204", "#010205"
PAGE_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
}
WIDTH, HEIGHT = 7.6, 2.9
"""Inches; a page column is 760 pixels wide."""
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

LEGEND: Any = {"fontsize": 9, "frameon": False, "labelcolor": INK}

Result = Mapping[str, Any]


def e1_plot(result: Result) -> str:
    """Draw the milliseconds to E1 of every deletion, and their median."""
    figure, axes = _figure(HEIGHT)
    numbers, times = _column(result, "number"), _column(result, "e1_milliseconds")
    median = result["e1_milliseconds"]
    axes.vlines(numbers, 0, times, color=FIRST, linewidth=1.4)
    axes.plot(numbers, times, "o", color=FIRST, markersize=5)
    axes.axhline(median, color=SECOND, linewidth=1.4, linestyle=(0, (5, 3)))
    axes.set_ylim(0, max(*times, median) * 1.25)
    axes.text(0.995, 0.98, f"dashed: median {median:.1f} ms", transform=axes.transAxes, ha="right", va="top", color=INK)
    _deletion_axis(axes, numbers)
    axes.set_ylabel("milliseconds to E1")
    return inline_svg(figure, "e1", "Milliseconds from sending each request to the first answer of the new manifest")


def accuracy_plot(result: Result) -> str:
    """Draw the accuracy before, at E1 and after repair over the stream, and that of one unsharded model."""
    figure, axes = _figure(HEIGHT + 0.3)
    numbers = [0, *_column(result, "number")]
    before = result["accuracy_before"]
    after = [100 * value for value in (before, *_column(result, "accuracy_after_repair"))]
    at_e1 = [100 * value for value in _column(result, "accuracy_at_e1")]
    axes.plot(numbers, after, "-o", color=FIRST, markersize=4, linewidth=1.4, label="before, and after each repair")
    axes.plot(
        numbers[1:],
        at_e1,
        "o",
        color=SECOND,
        markersize=5,
        markerfacecolor="none",
        label="at E1, nothing retrained yet",
    )
    lines = [*after, *at_e1]
    for name, label, dash in (
        ("accuracy_unsharded", "one unsharded model, retrained", (0, (5, 3))),
        ("accuracy_public", "without any node", (0, (1, 2))),
    ):
        if result.get(name) is not None:
            axes.axhline(100 * result[name], color=THIRD, linewidth=1.3, linestyle=dash, label=label)
            lines.append(100 * result[name])
    low, high = min(lines), max(lines)
    room = max(0.5, 0.12 * (high - low))
    axes.set_ylim(low - room, min(100.5, high + room))
    _deletion_axis(axes, numbers)
    axes.set_ylabel(f"held-out {word_of(result)}, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, **LEGEND)
    return inline_svg(
        figure, "accuracy", f"{word_of(result).capitalize()} on the held-out rows over the stream of deletions"
    )


def recall_plot(result: Result) -> str | None:
    """Draw how likely a language model finds the deleted owners' rows before, at E1 and after repair; None for others."""
    asked = [one for one in result["deletions"] if one.get("recalled")]
    if not asked:
        return None
    figure, axes = _figure(HEIGHT)
    numbers = [one["number"] for one in asked]
    series = (
        ("before", "before the request", FIRST, "o", FIRST),
        ("at_e1", "at E1, nothing retrained yet", SECOND, "o", "none"),
        ("after_repair", "after the repair", THIRD, "s", THIRD),
    )
    for when, label, colour, marker, inside in series:
        shares = [100 * one["recalled"][when]["likelihood"] for one in asked]
        axes.plot(numbers, shares, marker, color=colour, markerfacecolor=inside, markersize=6, label=label)
    axes.set_ylim(0, 103)
    _deletion_axis(axes, numbers)
    axes.set_ylabel("likelihood per token, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3, **LEGEND)
    return inline_svg(figure, "recall", "Likelihood of the deleted owners' own rows before, at E1 and after repair")


def lattice_plot(result: Result) -> str:
    """Draw how much of the lattice lived and how much depth was served, over the time of the stream."""
    figure, axes = _figure(HEIGHT)
    times, nodes = [0.0], [100.0]
    for one in result["deletions"]:
        times += [one["began"] + one["e1_milliseconds"] / 1000, one["began"] + one["whole_seconds"]]
        nodes += [100 * one["nodes_alive"] / one["nodes_before"], 100.0]
    shares = [100 * one["active_share"] for one in result["served"]]
    since = [one["seconds"] for one in result["served"]]
    axes.step(times, nodes, where="post", color=FIRST, linewidth=1.3, label="nodes alive, of those before")
    axes.step(
        [*since, times[-1]],
        [*shares, shares[-1]],
        where="post",
        color=SECOND,
        linewidth=1.3,
        label="depth served, of all depth",
    )
    axes.set_ylim(max(0.0, min(*nodes, *shares) // 10 * 10 - 20), 104)
    axes.set_xlim(left=0)
    axes.set_ylabel("share, %")
    axes.set_xlabel("seconds since the first deletion was sent")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, **LEGEND)
    return inline_svg(figure, "lattice", "Nodes alive and depth served over time")


def cost_plot(result: Result) -> str | None:
    """Draw E1 beside retraining one shard and the whole model; None when nothing was retrained."""
    if result.get("full_retrain_seconds") is None:
        return None
    figure, axes = _figure(2.0)
    milliseconds = [
        result["e1_milliseconds"],
        1000 * result["sisa_retrain_seconds"],
        1000 * result["full_retrain_seconds"],
    ]
    names = ["Lethe, to E1", "retrain one SISA shard", "retrain the full model"]
    axes.barh(names, milliseconds, color=[SECOND, FIRST, FIRST], height=0.55)
    axes.set_xscale("log")
    axes.set_xlim(milliseconds[0] / 4, max(milliseconds) * 12)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel("milliseconds, logarithmic")
    for place, value in enumerate(milliseconds):
        more = f", {value / milliseconds[0]:,.0f} times E1" if place else ""
        axes.text(value * 1.15, place, f"{_written(value)}{more}", va="center", color=INK)
    return inline_svg(figure, "cost", "Milliseconds to E1 beside retraining, on a logarithmic scale")


def _written(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004


def _figure(height: float) -> tuple[Any, Any]:
    """Return a figure of its own, outside pyplot's memory, and its axes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()


def _deletion_axis(axes: Any, numbers: Sequence[int]) -> None:
    step = max(1, len(numbers) // 20)
    axes.set_xticks(list(numbers)[::step])
    axes.set_xlabel("deletion")


def _column(result: Result, name: str) -> list[Any]:
    return [one[name] for one in result["deletions"]]


def inline_svg(figure: Any, name: str, description: str) -> str:
    """Return a figure as an SVG element that can stand in a page beside others."""
    import matplotlib as mpl

    content = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Two pictures in one page would share identifiers otherwise.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>',
        f'<svg viewBox="\\1" role="img" aria-label="{description}">',
        text,
        count=1,
    )
    for stand_in, colour in PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
