"""Show the menu: what each approximate method is, needs, costs and lets one set. Nothing is read but the cards."""

from __future__ import annotations

from typing import Any

from core.domain.access import Caller, Scope
from core.methods.card import Modality
from core.methods.describe import described
from core.methods.menu import MENU, find


def read_methods(modality: Modality | None, *, caller: Caller) -> dict[str, Any]:
    """Return every card, or those for one modality, in the menu's order; the list is short and has one page."""
    caller.require(Scope.MODELS_READ)
    cards = [card for card in MENU.values() if modality is None or modality in card.modalities]
    return {"object": "list", "data": [described(card) for card in cards], "has_more": False, "next_cursor": None}


def read_method(name: str, *, caller: Caller) -> dict[str, Any]:
    """Return one card, by the method's name or an alias.

    Raises:
        MethodNotFound: nothing on the menu is called that.
    """
    caller.require(Scope.MODELS_READ)
    return described(find(name))
