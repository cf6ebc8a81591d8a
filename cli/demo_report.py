"""The demo's report: one HTML file that needs nothing else, with the numbers of the run, its pictures and its evidence.

It shows what `--json` prints and nothing that is not there; every text is escaped on its way in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from cli import demo_plots
from cli.demo_score import WORDS, word_of
from cli.demo_style import CSS
from cli.demo_timeline import troubles
from core.domain.task import TaskName

Result = Mapping[str, Any]
MISSING = "-"


def written_report(result: Result) -> str:
    """Return the page for the outcome of a demo, as `--json` prints it."""
    sections = (
        _opening(result),
        _tiles(result),
        _what_was_done(result),
        _speed(result),
        _accuracy(result),
        _recall(result),
        _lattice(result),
        _evidence(result),
        _table(result),
        _setting(result),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Lethe: {len(result['deletions'])} deletions</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _opening(result: Result) -> str:
    count, wrong = len(result["deletions"]), troubles(result)
    verdict = (
        f'<p class="verdict bad">Not everything was as it must be: {escape("; ".join(wrong))}.</p>'
        if wrong
        else '<p class="verdict good">Every certificate and the whole log verified; no prediction failed, and none came '
        "from a dead node.</p>"
    )
    return (
        f"<h1>{count} owners were forgotten, one after another, while the model kept answering</h1>"
        f'<p class="lead">A run of <code>lethe demo</code> on {escape(result["data"]["name"])}, '
        f"{escape(result['finished_at'][:16].replace('T', ' '))} UTC.</p>{verdict}"
    )


def _tiles(result: Result) -> str:
    seconds = result.get("sisa_retrain_seconds")
    tiles = [
        (
            f"{result['e1_milliseconds']:.1f} ms",
            f"median until forgotten (E1); 95th percentile {result['e1_milliseconds_p95']:.1f} ms",
        ),
        (percent(result["accuracy_before"]), f"{word_of(result)} before the first deletion"),
        (percent(result["accuracy_at_e1"]), f"at E1 on average; lowest {percent(result['accuracy_at_e1_lowest'])}"),
        (percent(result["accuracy_after_repair"]), "after the last repair"),
    ]
    if seconds is not None:
        tiles += [
            (
                f"{result['ratio_sisa']:,.0f}\N{MULTIPLICATION SIGN}",
                f"faster than retraining the struck shard ({seconds:g} s)",
            ),
            (
                f"{result['ratio_full']:,.0f}\N{MULTIPLICATION SIGN}",
                f"faster than retraining the full model ({result['full_retrain_seconds']:g} s)",
            ),
        ]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{b}</b><span>{s}</span></div>' for b, s in tiles)
        + "</div>"
    )


def _what_was_done(result: Result) -> str:
    recipe, data = result["recipe"], result["data"]
    fresh = f"A fresh service was given {data['records']} rows of {data['owners']} owners and {data['public_records']} public rows."
    lattice = (
        f"{_foundation(result)}, and on top of it a lattice of {result['nodes_total']} "
        f"nodes: {recipe['shards']} shards of {recipe['slices']} slices, family <code>{escape(recipe['family'])}</code>. "
        "Each node has learned a known set of slices and nothing else."
    )
    deleted = (
        f"Then {len(result['deletions'])} owners, evenly spread over all, were deleted one after another over HTTP. Each time "
        "the nodes that had learned the owner's slice were switched off and the deepest others answered on: <b>E1</b>, "
        "nothing that is served is a function of the deleted records. No training is needed for that."
    )
    repaired = (
        "Afterwards the missing nodes were trained anew without the owner, until what is served was again what a fresh build "
        "on the remaining records gives, bit for bit: <b>E2</b>. The next deletion waited for that."
    )
    witnessed = (
        f"All the while a client asked the predictor for answers: {result['predictions_answered']:,} came, "
        f"{result['predictions_failed']} failed, {result['predictions_stale']} were older than one before; the slowest took "
        f"{result['predictions_longest_milliseconds']:g} ms. {result['manifests_checked']} manifests were answered from, and "
        f"{result['dead_nodes_served']} of the nodes they name were dead by then."
    )
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in data["rules"])
    return f"<h2>What was done</h2><ol>{_items((fresh, lattice, deleted, repaired, witnessed))}</ol><p>How the rows were divided:</p><ul>{rules}</ul>"


def _unlearned(result: Result) -> str:
    return "The base model alone" if word_of(result) == WORDS[TaskName.LANGUAGE] else "The public head"


def _foundation(result: Result) -> str:
    if result["data"].get("own_base"):
        return "It adopted a base model of texts, which had learned nothing of anybody who can be deleted"
    return "It pre-trained a small transformer on the public rows"


def _speed(result: Result) -> str:
    parts = [
        "<h2>How fast a person is gone</h2>",
        figure(
            demo_plots.e1_plot(result),
            "From the moment the client began to send its request to the first answer of the predictor that carried the new "
            "manifest, on the client's clock.",
        ),
    ]
    cost = demo_plots.cost_plot(result)
    if cost is None:
        return "".join(
            [*parts, f"<p>Nothing was retrained for comparison: {escape(str(result['comparison_skipped']))}.</p>"]
        )
    sisa, full = result["sisa_retrain"], result["full_retrain"]
    parts.append(
        figure(
            cost,
            f"Retraining was really done, once each, by the same trainer with the same epochs and "
            f"{result['trainer_threads']} thread(s), on the records that were left: the shard that the last deletion struck "
            f"({sisa['records']:,} records, {sisa['record_epochs']:,} record-epochs over its stages) and one unsharded model "
            f"({full['records']:,} records, {full['record_epochs']:,} record-epochs). E1 includes HTTP and the database; "
            "retraining counts the training alone.",
        )
    )
    return "".join(parts)


def _accuracy(result: Result) -> str:
    held_out = result["data"]["held_out"]
    caption = (
        f"On {held_out} held-out rows, through the predictor; one row is {100 / held_out:.2f} points, so differences of a "
        "point or two are chance."
    )
    if word_of(result) == WORDS[TaskName.LANGUAGE]:
        caption = (
            f"The likelihood of {held_out} held-out texts after their prompts, to the power of 1 over their tokens, on "
            "average, through the predictor. Nobody of whom they tell is deleted in this run."
        )
    if word_of(result) == WORDS[TaskName.REGRESSION]:
        caption = f"R², the share of the variance explained, on {held_out} held-out rows, through the predictor."
    if result.get("accuracy_unsharded") is not None:
        cost = result["accuracy_unsharded"] - result["accuracy_after_repair"]
        caption += (
            f" One unsharded model, retrained on the remaining records, reaches {percent(result['accuracy_unsharded'])}, so "
            f"sharding {'costs' if cost > 0 else 'costs nothing here and gains'} {abs(100 * cost):.1f} points. "
            f"{_unlearned(result)}, which saw no owner, reaches {percent(result['accuracy_public'])}."
        )
    return f"<h2>What it costs in {word_of(result)}</h2>" + figure(demo_plots.accuracy_plot(result), caption)


def _recall(result: Result) -> str:
    """Return what the model still knew of the deleted; nothing for a model that says no words."""
    plot = demo_plots.recall_plot(result)
    if plot is None:
        return ""
    caption = (
        "The likelihood per token of the deleted people's own rows: what the model had learned of them before, what it still "
        "finds likely just after, and once it is repaired. What is left then is what everybody's rows and the base model say."
    )
    rows = "".join(
        f"<tr><td>{one['number']}</td><td>{escape(asked['before']['prompt'])} …</td>"
        f"<td>{escape(asked['before']['expected'])}</td>"
        + "".join(f"<td>{escape(asked[when]['said'])}</td>" for when in ("before", "at_e1", "after_repair"))
        + "</tr>"
        for one in result["deletions"]
        if (asked := one["recalled"]) and asked["before"]["prompt"]
    )
    table = (
        '<p>Asked in words; the people are invented:</p><div class="scroll"><table><thead><tr><th>#</th><th>prompt</th>'
        "<th>learned</th><th>said before</th><th>at E1</th><th>after repair</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
    return "<h2>What it still knows of the deleted</h2>" + figure(plot, caption) + (table if rows else "")


def _lattice(result: Result) -> str:
    caption = (
        f"{result['nodes_dead']} nodes were switched off in all. A repair took {result['repair_seconds']:g} s in the median "
        f"until E2, and {result['whole_seconds']:g} s until every node was back. Full depth is served earlier: the first "
        "node of a repair is a provisional one that restores it."
    )
    return "<h2>What was switched off, and came back</h2>" + figure(demo_plots.lattice_plot(result), caption)


def _evidence(result: Result) -> str:
    example, log = result["evidence_example"], result["log"]
    state = "verified" if result["log_verified"] else "did not verify"
    shown = (
        f"<p>{result['certificates_verified']} of {len(result['certificates'])} certificates verified offline, two for each "
        f"deletion: one at E1, one at E2. The audit log, {log['entries']} entries, {state} against its signed head.</p>"
    )
    if example is not None:
        base = Path(example["path"])
        command = f"lethe verify {base.name} --proof {base.stem}.proof \\\n  --key ../lethe.vkey --log ../log.jsonl"
        shown += (
            f"<p>This is what the verifier says about the last one, <code>{escape(base.name)}</code>. Ask it yourself, in "
            f"<code>{escape(str(base.parent))}</code>:</p><pre>{escape(command)}</pre>"
            f'<div class="columns"><div><h3>Proved by the bytes</h3><ul>{_items(map(escape, example["proved"]))}</ul></div>'
            f"<div><h3>Asserted by the operator</h3><ul>{_items(map(escape, example['asserted']))}</ul></div></div>"
        )
    return f"<h2>The evidence</h2>{shown}"


def _table(result: Result) -> str:
    headings = (
        "#",
        "owner",
        "rows",
        "shard / slice",
        "E1, ms",
        "nodes off",
        f"{word_of(result)} at E1",
        "after repair",
        "to E2, s",
        "whole, s",
        "verified",
    )
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in _row(one, result))}</tr>" for one in result["deletions"]
    )
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return (
        "<h2>Every deletion</h2><p>Owners are shown by the beginning of their keyed reference; no identity is stored.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(one: Mapping[str, Any], result: Result) -> tuple[str, ...]:
    mine = [kept for kept in result["certificates"] if kept["deletion"] == one["number"]]
    later = " *" if max(one["answered_by"], default=0) > one["e1_manifest"] else ""
    return (
        str(one["number"]),
        f"<code>{escape(one['owner'])}</code>",
        str(one["records"]),
        f"{one['shard']} / {one['slice']}",
        f"{one['e1_milliseconds']:.1f}",
        str(one["nodes_switched_off"]),
        percent(one["accuracy_at_e1"]) + later,
        percent(one["accuracy_after_repair"]),
        f"{one['repair_seconds']:.1f}",
        f"{one['whole_seconds']:.1f}",
        f"{sum(kept['verified'] for kept in mine)} of {len(mine)}",
    )


def _setting(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in result["environment"].items()
    )
    star = "<p>* a repair was published before all held-out rows were answered; this figure is partly that of the repaired model.</p>"
    later = any(max(one["answered_by"], default=0) > one["e1_manifest"] for one in result["deletions"])
    return f'{star if later else ""}<h2>Where it ran</h2><div class="scroll"><table class="words"><tbody>{rows}</tbody></table></div>'


def percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f} %"


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption, quote=False)}</figcaption></figure>"


def _items(sentences: Iterable[str]) -> str:
    return "".join(f"<li>{sentence}</li>" for sentence in sentences)
