"""Write docs/methods/NAME.md for every approximate method: what its card says, and what the gate measured.

python -m benchmarks.approximate.pages
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.approximate.gate import RESULT
from core.methods.card import MethodCard, RequestKind, knob_of
from core.methods.menu import MENU

MEASURED = Path(__file__).resolve().parents[2] / "core" / "methods" / "measured.py"
PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
KINDS = {
    RequestKind.DATA_DELETION: "Deletes data: the target is a model that never saw the rows.",
    RequestKind.CONCEPT_SUPPRESSION: "Suppresses a concept: the target is that a behaviour is gone, *not* that data is.",
}
WORLDS = {
    "mixture": "Gaussian mixture, perceptron",
    "digits": "digits, convolutional network",
    "curve": "regression, perceptron",
    "facts": "invented facts, transformer",
}


def page(card: MethodCard, result: Mapping[str, Any]) -> str:
    """Return the page of one method."""
    aliases = f" Also accepted: {', '.join(f'`{alias}`' for alias in card.aliases)}." if card.aliases else ""
    artefacts = ", ".join(f"`{one}`" for one in sorted(card.artefacts))
    optional = ", ".join(f"`{one}`" for one in sorted(card.optional_artefacts))
    needs = ", ".join(sorted(need.value for need in card.needs))
    needs += f"; the artefact {artefacts}" if artefacts else ""
    needs += f"; saves work with the artefact {optional}" if optional else ""
    return f"""# {card.title}

<!-- Written by `python -m benchmarks.approximate.pages` from core/methods/{card.name}.py and the gate's figures. -->

{card.summary} `{card.name}`.{aliases}

**Paper.** {card.paper}

**Formula.** {card.formula}

**Kind.** {KINDS[card.kind]}

**Needs.** {needs}.

**Works on.** {", ".join(sorted(card.modalities))}.

**Cost.** {card.cost}

**Known weakness.** {card.weakness}

## Settings

| setting | default | meaning | must |
|---|---|---|---|
{settings_rows(card)}
## Measured behaviour

{measured(card.name, result)}"""


def settings_rows(card: MethodCard) -> str:
    rows = []
    for one in fields(card.settings):
        knob = knob_of(one)
        default = json.dumps(one.default)
        rows.append(f"| `{one.name}` | `{default}` | {knob.sentence} | {knob.bounds()} |\n")
    return "".join(rows)


def measured(name: str, result: Mapping[str, Any]) -> str:
    """Return what the gate found, one row per world."""
    parts = [
        "Means over three seeds, beside the mean of 19 oracles and beside doing nothing. [How to read it](index.md).\n"
    ]
    parts.append(
        "| world | UA | RA | TA | gap | ToW | seconds | share of a retrain |\n|---|---|---|---|---|---|---|---|"
    )
    for world, found in result["worlds"].items():
        row = found["methods"].get(name)
        if row is None:
            continue
        parts += [
            line(WORLDS[world], row),
            line("oracles", found["oracles"]),
            line("nothing done", found["methods"]["original"]),
        ]
    settings = [
        json.dumps(found["methods"][name]["settings"])
        for world, found in result["worlds"].items()
        if found["methods"].get(name, {}).get("settings")
    ]
    used = f"Settings that differed from the defaults: `{settings[0]}`." if settings else "All settings as by default."
    if name == "retrain":
        used = "Epochs and learning rate as the world's original was trained."
    return "\n".join(parts) + f"\n\n{used}\n"


def line(title: str, row: Mapping[str, Any]) -> str:
    if "refused" in row:
        return f"| {title} | refused: `{row['refused']}` | | | | | | |"
    figures = [f"{row[one]:.3g}" if one in row else "" for one in ("forget", "retain", "test", "gap", "tow", "seconds")]
    share = row.get("retrain_share")
    return f"| {title} | {' | '.join(figures)} | {'' if share is None else f'{share:.2f}'} |"


def menu(result: Mapping[str, Any]) -> str:
    """Return the table of all methods, with the distance to the oracles in each world."""
    names = list(result["worlds"])
    head = (
        f"| method | in one sentence | {' | '.join(f'gap, {one}' for one in names)} |\n|---|---|{'---|' * len(names)}\n"
    )
    rows = [f"| nothing done | | {gaps('original', result)} |\n"]
    rows += [f"| [{card.title}]({name}.md) | {card.summary} | {gaps(name, result)} |\n" for name, card in MENU.items()]
    return head + "".join(rows)


def gaps(name: str, result: Mapping[str, Any]) -> str:
    found = [world["methods"].get(name, {}) for world in result["worlds"].values()]
    return " | ".join(f"{row['gap']:.3g}" if "gap" in row else row.get("refused", "") for row in found)


def shares(result: Mapping[str, Any]) -> str:
    """Return the module that tells what each method costs, for the menu: no JSON is shipped with it."""
    rows = []
    for name in MENU:
        found = {world: one["methods"].get(name, {}).get("retrain_share") for world, one in result["worlds"].items()}
        inner = ", ".join(f'"{world}": {share:.2g}' for world, share in found.items() if share is not None)
        rows.append(f'    "{name}": {{{inner}}},\n')
    head, _, _ = MEASURED.read_text().partition("RETRAIN_SHARES")
    return f"{head}RETRAIN_SHARES: Mapping[str, Mapping[str, float]] = {{\n{''.join(rows)}}}\n"


def verdicts(scenes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return what the judge said of every method in every scene, and what the method cost there."""
    names = list(scenes)
    head = f"| method | {' | '.join(names)} | share of a retrain |\n|---|{'---|' * len(names)}---|\n"
    others = {"original": "nothing done", "one oracle more": "one oracle more"}
    titles = {name: f"[{card.title}](methods/{name}.md)" for name, card in MENU.items()}
    rows = []
    for name, title in {**others, **titles}.items():
        cells = [verdict_of(scene.get(name)) for scene in scenes.values()]
        shares = [
            one["retrain_share"]
            for one in (scene.get(name, {}) for scene in scenes.values())
            if one.get("retrain_share")
        ]
        cost = " to ".join(dict.fromkeys(f"{one:.2f}" for one in (min(shares), max(shares)))) if shares else ""
        rows.append(f"| {title} | {' | '.join(cells)} | {cost} |\n")
    return head + "".join(rows)


def verdict_of(row: Mapping[str, Any] | None) -> str:
    """Return endings as words, those that came more than once with their count; bold where every run passed."""
    if row is None:
        return ""
    endings: Mapping[str, int] = row.get("endings", {row["refused"]: 1} if "refused" in row else {})
    if set(endings) == {"passed"}:
        return "**passed**"
    words = [
        WORDS.get(ending, ending) + (f" ({count})" if len(endings) > 1 else "") for ending, count in endings.items()
    ]
    return ", ".join(words)


WORDS = {
    "failed_under_forgot": "remembers",
    "failed_over_forgot": "overdone",
    "utility_lost": "lost",
    "no_effect": "no effect",
    "underpowered": "cannot tell",
}


def scenes(gate: Mapping[str, Any]) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """Return every scene in which methods were judged, by the name it has in the table; what was not run is not there."""
    found: dict[str, Mapping[str, Mapping[str, Any]]] = {
        name: one["methods"] for name, one in gate["worlds"].items() if "endings" in one["methods"]["original"]
    }
    compared = RESULT.with_name("2026-11-21-compare-digits.json")
    if compared.exists():
        found["digits, defaults"] = _as_scene(json.loads(compared.read_text()))
    fashion, parkinsons = (RESULT.with_name(f"approximate-{name}.json") for name in ("fashion", "parkinsons"))
    if fashion.exists():
        for name, scenario in json.loads(fashion.read_text())["scenarios"].items():
            found[f"Fashion-MNIST, {name.replace('_', ' ')}"] = _with_models(scenario)
    if parkinsons.exists():
        found["Parkinson's patients"] = _with_models(json.loads(parkinsons.read_text()))
    return found


def _as_scene(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return one run of `lethe compare` as the benchmarks tell theirs."""

    def row(one: Mapping[str, Any]) -> dict[str, Any]:
        ending = one.get("ending") or one["refused"]
        return {"endings": {ending: 1}, "retrain_share": one.get("cost", {}).get("retrain_share")}

    models = {"original": row(comparison["original"]), "one oracle more": row(comparison["oracle"])}
    return models | {one["method"]: row(one) for one in comparison["methods"]}


def _with_models(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {"original": found["models"]["original"], "one oracle more": found["models"]["oracle"], **found["methods"]}


def between(page: Path, name: str, text: str) -> None:
    """Write text between a page's two comments of this name."""
    before, _, rest = page.read_text().partition(f"<!-- {name}")
    first, _, rest = rest.partition(" -->\n")
    after = rest.partition(f"<!-- /{name} -->")[2]
    page.write_text(f"{before}<!-- {name}{first} -->\n\n{text}\n<!-- /{name} -->{after}")


def main() -> None:
    result = json.loads(RESULT.read_text())
    between(PAGES.parent / "comparing.md", "verdicts", verdicts(scenes(result)))
    MEASURED.write_text(shares(result))
    between(PAGES / "index.md", "menu", menu(result))
    for card in MENU.values():
        (PAGES / f"{card.name}.md").write_text(page(card, result))


if __name__ == "__main__":
    main()
