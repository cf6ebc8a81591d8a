"""The menu itself: every card by its method's name, in the order in which people read them."""

from __future__ import annotations

from collections.abc import Mapping

from core.domain.errors import MethodNotFound
from core.methods import (
    bad_teacher,
    blindspot,
    datamodel_matching,
    fine_tune,
    gaussian_amnesiac,
    gradient_ascent,
    gradient_difference,
    influence,
    l1_sparse,
    label_free_synaptic_dampening,
    negative_preference,
    negmerge,
    random_label,
    representation_misdirection,
    retrain,
    salun,
    scrub,
    selective_synaptic_dampening,
    simple_negative_preference,
    task_arithmetic,
)
from core.methods.card import MethodCard

_CARDS = (
    retrain.CARD,
    fine_tune.CARD,
    gradient_ascent.CARD,
    gradient_difference.CARD,
    random_label.CARD,
    salun.CARD,
    l1_sparse.CARD,
    scrub.CARD,
    bad_teacher.CARD,
    selective_synaptic_dampening.CARD,
    label_free_synaptic_dampening.CARD,
    influence.CARD,
    task_arithmetic.CARD,
    negmerge.CARD,
    negative_preference.CARD,
    simple_negative_preference.CARD,
    representation_misdirection.CARD,
    gaussian_amnesiac.CARD,
    blindspot.CARD,
    datamodel_matching.CARD,
)
MENU: Mapping[str, MethodCard] = {card.name: card for card in _CARDS}
ALIASES: Mapping[str, str] = {alias: card.name for card in _CARDS for alias in card.aliases}


def find(name: str) -> MethodCard:
    """Return a card by its method's name or an alias of it.

    Raises:
        MethodNotFound: nothing on the menu is called that.
    """
    card = MENU.get(ALIASES.get(name, name))
    if card is None:
        raise MethodNotFound
    return card
