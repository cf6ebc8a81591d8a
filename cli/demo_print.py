"""What `lethe demo` tells people in the terminal: the timeline, the numbers, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from cli.demo_report import percent
from cli.demo_score import word_of
from cli.demo_timeline import troubles

HEADINGS = ("#", "owner", "E1 ms", "nodes off", "{} at E1", "after repair", "repair s", "certificate")
PIPE_COLUMNS = 120
Result = Mapping[str, Any]


def draw(result: Result, *, to_stderr: bool) -> None:
    """Print the timeline and the summary."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=to_stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    timeline = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Timeline", title_justify="left")
    for heading in HEADINGS:
        timeline.add_column(
            heading.format(word_of(result)), justify="left" if heading in ("owner", "certificate") else "right"
        )
    for one in result["deletions"]:
        timeline.add_row(*_row(one, result))
    summary = Table.grid(padding=(0, 2))
    for name, value in _summary(result).items():
        summary.add_row(name, value)
    console.print(timeline)
    console.print(summary)
    for sentence in troubles(result):
        console.print(f"[bold red]Not as it must be:[/] {sentence}.")


def _row(one: Mapping[str, Any], result: Result) -> tuple[str, ...]:
    mine = [kept for kept in result["certificates"] if kept["deletion"] == one["number"]]
    verdict = "verified" if mine and all(kept["verified"] for kept in mine) else "NOT VERIFIED"
    return (
        str(one["number"]),
        one["owner"],
        f"{one['e1_milliseconds']:.1f}",
        str(one["nodes_switched_off"]),
        percent(one["accuracy_at_e1"]),
        percent(one["accuracy_after_repair"]),
        f"{one['repair_seconds']:.1f}",
        f"{verdict} ({len(mine)})",
    )


def _summary(result: Result) -> dict[str, str]:
    shown = {
        "E1": f"median {result['e1_milliseconds']:.1f} ms, 95th percentile {result['e1_milliseconds_p95']:.1f} ms "
        "(client's POST → first answer of the new manifest)",
        word_of(
            result
        ).capitalize(): f"{percent(result['accuracy_before'])} before, {percent(result['accuracy_at_e1'])} at E1 "
        f"(lowest {percent(result['accuracy_at_e1_lowest'])}), {percent(result['accuracy_after_repair'])} after the last repair",
        "Predictions": f"{result['predictions_answered']:,} answered, {result['predictions_failed']} failed, "
        f"{result['predictions_stale']} stale; {result['dead_nodes_served']} dead nodes in "
        f"{result['manifests_checked']} manifests answered from",
        **_recall(result),
        "Nodes": f"{result['nodes_dead']} switched off in all; the lattice has {result['nodes_total']}",
        "Repair": f"{result['repair_seconds']:g} s to E2 in the median, {result['whole_seconds']:g} s until every node is back",
        "Evidence": f"{result['certificates_verified']} of {len(result['certificates'])} certificates verified; log of "
        f"{result['log']['entries']} entries {'verified' if result['log_verified'] else 'NOT VERIFIED'}",
        **_comparison(result),
        "Certificates": str(Path(result["certificate"]).parent),
        "Report": result["report"],
        "Took": f"{result['wall_seconds']:g} s, of which {result['build_seconds']:g} s training at the start",
    }
    service = result.get("service")
    if service is not None:
        shown["Service"] = (
            f"{service['url']}, predictor {service['predictor_url']}; stop it with `kill {service['pid']}`"
        )
    return shown


def _recall(result: Result) -> dict[str, str]:
    asked = [one["recalled"] for one in result["deletions"] if one.get("recalled")]
    if not asked:
        return {}
    shares = (fmean(one[when]["likelihood"] for one in asked) for when in ("before", "at_e1", "after_repair"))
    before, at_e1, after = map(percent, shares)
    return {
        "Of the deleted": f"their own rows' likelihood per token was {before} before, {at_e1} at E1, {after} after repair"
    }


def _comparison(result: Result) -> dict[str, str]:
    if result["comparison_skipped"]:
        return {"Retraining": f"not compared: {result['comparison_skipped']}"}
    sisa, full = result["sisa_retrain"], result["full_retrain"]
    return {
        "SISA shard": f"{sisa['seconds']:g} s for {sisa['record_epochs']:,} record-epochs: "
        f"{result['ratio_sisa']:,.0f} times E1",
        "Full model": f"{full['seconds']:g} s for {full['record_epochs']:,} record-epochs: "
        f"{result['ratio_full']:,.0f} times E1; unsharded {word_of(result)} {percent(result['accuracy_unsharded'])}",
    }
