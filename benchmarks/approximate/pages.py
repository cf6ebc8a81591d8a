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


def main() -> None:
    result = json.loads(RESULT.read_text())
    index = PAGES / "index.md"
    before, _, rest = index.read_text().partition("<!-- menu")
    marker, _, after = ("<!-- menu" + rest).partition(" -->\n")
    after = after.partition("<!-- /menu -->")[2]
    index.write_text(f"{before}{marker} -->\n\n{menu(result)}\n<!-- /menu -->{after}")
    for card in MENU.values():
        (PAGES / f"{card.name}.md").write_text(page(card, result))


if __name__ == "__main__":
    main()
