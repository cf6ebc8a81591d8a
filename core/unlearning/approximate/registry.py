"""Which recipe cooks which method: the menu's names, each the file of that name in `methods/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from core.methods.menu import MENU
from core.unlearning.approximate import methods
from core.unlearning.approximate.recipe import Recipe

RECIPES: Mapping[str, Callable[[Any], Recipe]] = {
    name: import_module(f"{methods.__name__}.{name}").recipe for name in MENU
}
