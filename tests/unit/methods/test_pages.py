"""What docs/adding-a-method.md tells a newcomer really works, as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from core.methods.card import MethodCard
from core.unlearning.approximate import engine
from core.unlearning.approximate.order import Order
from tests.unit.unlearning.approximate.tiny import task

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adding-a-method.md"


def test_the_example_of_the_page_is_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    card_source, recipe_source = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setitem(
        sys.modules, "core.methods.mask_distillation", module("core.methods.mask_distillation", card_source)
    )
    recipe = module("example", recipe_source)
    card: MethodCard = sys.modules["core.methods.mask_distillation"].CARD
    settings = card.settings_from({"epochs": 20, "learning_rate": 0.1, "retain_weight": 0.2})
    found = engine.run(Order(card=card, settings=settings), recipe.recipe(settings), task())
    first, last = found.history[0], found.history[-1]
    assert last.forget_loss > first.forget_loss
    assert len(card_source.splitlines()) + len(recipe_source.splitlines()) < 70, "two small files"


def module(name: str, source: str) -> Any:
    made = types.ModuleType(name)
    sys.modules[name] = made
    exec(compile(source, name, "exec"), made.__dict__)  # noqa: S102 - the page's own code
    return made
