"""`lethe methods`: the menu of approximate unlearning, and one card of it. It needs no service.

lethe methods                           what there is, for which models, at what cost
lethe methods --modality regressor      only what works on those
lethe methods scrub                     one card: formula, needs, settings with bounds, known weakness
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.output import Json, details, say, show, table, told, unusable

LIST_COLUMNS = {
    "method": "name",
    "also": "aliases",
    "works on": "modalities",
    "for": "kind",
    "needs": "needs",
    "artefacts": "artefacts",
    "cost": "cost_class",
    "share of a retrain": "share",
}
SETTING_COLUMNS = {"setting": "name", "default": "default", "must": "must", "meaning": "meaning"}
SHARES = "Shares are operations over those of training anew, lowest and highest of the worlds in docs/methods/index.md."


def methods(
    name: Annotated[str | None, typer.Argument(help="A method's name or alias: explain this one.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="Only those for: classifier, regressor or causal_language_model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods of approximate unlearning, or explain one: needs, settings, cost, known weakness."""
    from core.methods.card import Modality
    from core.methods.describe import described
    from core.methods.menu import MENU, find

    with told(as_json):
        if modality is not None and modality not in set(Modality):
            raise unusable(f"--modality must be one of {', '.join(Modality)}")
        if name is not None:
            card = described(find(name))
            show(card, as_json, lambda: _print_card(card))
            return
        every = [described(card) for card in MENU.values() if modality is None or modality in card.modalities]
        show(every, as_json, lambda: _print_list(every))


def _print_list(every: list[dict[str, Any]]) -> None:
    table([one | {"share": _range(one["retrain_share"])} for one in every], LIST_COLUMNS, empty="There is none.")
    say(SHARES)


def _print_card(card: dict[str, Any]) -> None:
    details({name: value for name, value in card.items() if name not in {"object", "settings"} and value != []})
    table(card["settings"], SETTING_COLUMNS, empty="There is nothing to set.")


def _range(shares: dict[str, float]) -> str:
    return f"{min(shares.values()):.2f} to {max(shares.values()):.2f}" if shares else "-"
