"""The report of a comparison: one HTML file that needs nothing else. First what passes and at what cost, then why not.

It shows what `--json` prints and nothing that is not there; every text is escaped on its way in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any

from cli.compare_plots import figures_svg
from cli.compare_words import AXES, ENDINGS, MARKS, ending_of, ranked, title_of
from cli.demo_report import figure
from cli.demo_style import CSS

Result = Mapping[str, Any]
MORE_CSS = """
body { max-width: 66rem; }
td.word { text-align: left; }
.lines td:first-child, .lines th:first-child { text-align: left; }
.lines td:nth-child(2), .lines th:nth-child(2) { text-align: left; }
tr.passed td { background: var(--panel); font-weight: 600; }
.mark { text-align: center; font-size: 1.05rem; }
.up { color: var(--second); } .down { color: var(--first); } .lost { color: var(--bad); } .in { color: var(--faint); }
.faults th { text-align: center; } .faults th:first-child { text-align: left; }
.faults td { text-align: center; } .faults td:first-child { text-align: left; }
"""
CLASSES = {
    "failed_under_forgot": "up",
    "failed_over_forgot": "down",
    "utility_lost": "lost",
    "no_effect": "lost",
    "": "in",
}
HEADINGS = ("method", "the judge says", "forgotten, %", "kept rows, %", "new rows, %", "membership", "gap", "of a retrain", "seconds")  # fmt: skip


def written_comparison(result: Result) -> str:
    """Return the page for a comparison, as `--json` prints it."""
    sections = (
        _opening(result),
        _judge(result),
        "<h2>What each method reaches, and what it costs</h2>",
        _picture(result),
        _table(result),
        _faults(result),
        _reading(result),
        _settings(result),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Lethe: {len(result['methods'])} methods compared</title>\n<style>{CSS}{MORE_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _opening(result: Result) -> str:
    passed = [one for one in ranked(list(result["methods"])) if ending_of(one) == "passed"]
    names = [f"{title_of(one['method'])} ({_share(one)} of a retrain)" for one in passed]
    rows, count = result["rows"], len(result["methods"])
    heading = (
        f"The judge passes {len(passed)} of {count} methods" if passed else f"The judge passes none of {count} methods"
    )
    cheapest = f" Cheapest first: {escape('; '.join(names))}." if passed else ""
    checkpoint = f", checkpoint {escape(result['checkpoint'])}" if result["checkpoint"] else ""
    lead = (
        f"<code>lethe compare</code> on {escape(result['data'])}{checkpoint}: <code>{escape(result['forget'])}</code>, "
        f"{rows['forget']} of {rows['forget'] + rows['retain']} rows, was to be forgotten.{cheapest}"
    )
    others = Counter(ENDINGS.get(ending_of(one), ending_of(one)) for one in result["methods"] if one not in passed)
    rest = (
        f" Of the others: {escape(', '.join(f'{count} {word}' for word, count in others.most_common()))}."
        if others
        else ""
    )
    return f'<h1>{heading}</h1><p class="lead">{lead}{rest}</p>'


def _judge(result: Result) -> str:
    """Say first whether the judge itself did its duty: without that, nothing below means anything."""
    oracle, original = result["oracle"]["ending"], result["original"]["ending"]
    count = result["oracles"]["count"]
    duty = (
        f"A model really trained without the rows was judged beside {count} others of its kind, and "
        f"<b>{ENDINGS[oracle]}</b>; the untouched original: <b>{ENDINGS[original]}</b>."
    )
    if oracle == "passed" and original != "passed":
        return f'<p class="verdict good">The judge can be believed here.</p><p>{duty}</p>'
    if oracle == "underpowered":
        reason = escape(result["oracle"]["judgement"]["reason"] or "some interval crosses its margin")
        return (
            f'<p class="verdict bad">Here nobody could tell: {reason}.</p><p>{duty} Ask about rows that only a model which saw '
            "them can know, or give more rows or oracles; the figures below are shown all the same.</p>"
        )
    return f'<p class="verdict bad">The judge cannot be believed here.</p><p>{duty}</p>'


def _picture(result: Result) -> str:
    count = result["oracles"]["count"]
    return figure(
        figures_svg(result),
        f"Band and line: the range and the mean of {count} oracles, models really trained without the rows. The goal is the "
        "band, not the edge: a method right of it in the first column, or left of it in the fourth, has overdone it. Filled "
        "circles passed.",
    )


def _table(result: Result) -> str:
    oracles = result["oracles"]
    top = (
        f"<tr><td>oracles, mean of {oracles['count']}</td><td></td>{_figures(oracles)}<td>100 %</td>"
        f"<td>{oracles['seconds']:.2f}</td></tr>"
    )
    others = [{"method": "nothing done", **result["original"]}, {"method": "one oracle more", **result["oracle"]}]
    body = top + "".join(_line(one) for one in [*others, *ranked(list(result["methods"]))])
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    return f'<div class="scroll"><table class="lines"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _line(one: Result) -> str:
    ending = ending_of(one)
    word = ENDINGS.get(ending, ending)
    figures = _figures(one["figures"]) if "figures" in one else "<td></td>" * 5
    seconds = f"{one['cost']['seconds']:.2f}" if "cost" in one else ""
    kind = ' class="passed"' if ending == "passed" and "cost" in one else ""
    return (
        f'<tr{kind}><td>{escape(title_of(one["method"]))}</td><td class="word">{escape(word)}</td>{figures}'
        f"<td>{_share(one)}</td><td>{seconds}</td></tr>"
    )


def _figures(figures: Result) -> str:
    names = ("unlearning", "retain", "test", "membership", "average_gap")
    return "".join(f"<td>{figures[name]:.1f}</td>" for name in names)


def _faults(result: Result) -> str:
    """Show for each method on which question it fails, and in which direction."""
    if not result["original"]["judgement"]["findings"]:
        return ""  # too few oracles to be asked at all, which is said above
    judged = [one for one in ranked(list(result["methods"])) if "judgement" in one]
    shown = [
        {"method": "nothing done", **result["original"]},
        {"method": "one oracle more", **result["oracle"]},
        *judged,
    ]
    axes = [finding["axis"] for finding in result["original"]["judgement"]["findings"]]
    head = "<th>method</th>" + "".join(f"<th>{escape(AXES[axis][0])}</th>" for axis in axes)
    body = "".join(
        f"<tr><td>{escape(title_of(one['method']))}</td>{''.join(map(_mark, one['judgement']['findings']))}</tr>"
        for one in shown
    )
    keys = ", ".join(
        f'<span class="{CLASSES.get(name, "in")}">{mark}</span> {word}' for name, (mark, word) in MARKS.items()
    )
    questions = "".join(f"<li><b>{escape(AXES[axis][0])}</b>: {escape(AXES[axis][1])}</li>" for axis in axes)
    return (
        f"<h2>Where each one fails, and in which direction</h2><p>{keys}. Hover over a mark for the gap and its interval.</p>"
        f'<div class="scroll"><table class="faults"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<ul>{questions}</ul>"
    )


def _mark(finding: Result) -> str:
    accused = finding["accuses"] or ""
    mark, word = MARKS.get(accused, ("?", accused))
    told = word
    if "interval" in finding:
        interval, margin = finding["interval"], finding["margin"]
        borders = " to ".join("any" if margin[side] is None else f"{margin[side]:+.2f}" for side in ("low", "high"))
        told = f"{word}: gap {interval['estimate']:+.3f} ({interval['low']:+.3f} to {interval['high']:+.3f}), margin {borders}"
    elif "value" in finding:
        told = f"{word}: {finding['value']:.3g}"
    return f'<td class="mark {CLASSES.get(accused, "in")}" title="{escape(told)}">{mark}</td>'


def _reading(result: Result) -> str:
    if result["modality"] == "classifier":
        unit = "percentages of rows that are answered right; forgotten is what is <i>not</i> answered as the rows' labels say"
    else:
        unit = "mean confidences in percent, exp(-loss); forgotten is 100 less that of the forgotten rows"
    return (
        f"<h2>How to read it</h2><p>The first three figures are {unit}. Membership: how often an attacker ranks a forgotten row "
        "above a new one; 50 is chance. Gap: the mean distance to the oracles. Of a retrain: operations, as a share of those "
        "of training on the rows that stay; methods also look at the rows after every epoch, so retraining by the engine costs "
        "more than that. Seconds are of one run on one thread.</p><p>Passed means that by this policy every "
        "question's whole interval lay inside its margin, and that the original's did not. It does not mean that the rows are "
        "forgotten: nothing is said of questions that were not asked, or of differences smaller than the margins. This is one "
        f"run of each method, with seed {result['seed']}; policy <code>{escape(result['policy']['digest'][:12])}</code>.</p>"
    )


def _settings(result: Result) -> str:
    changed = [one for one in result["methods"] if one["settings"]]
    rows = [
        (title_of(one["method"]), ", ".join(f"{name} {value}" for name, value in one["settings"].items()))
        for one in changed
    ]
    refused = [(title_of(one["method"]), one["detail"]) for one in result["methods"] if "refused" in one]
    training = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["training"].items())
    rows += [
        *refused,
        ("original and oracles", training),
        *((name, str(value)) for name, value in result["environment"].items()),
    ]
    body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<h2>Settings that are not the defaults, and where it ran</h2><div class="scroll"><table class="words"><tbody>{body}</tbody></table></div>'


def _share(one: Result) -> str:
    share = one.get("cost", {}).get("retrain_share")
    return "" if share is None else f"{100 * share:.0f} %"
