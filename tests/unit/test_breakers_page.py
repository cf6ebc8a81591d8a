"""The table of what breaks exactness names tests that are there, and guards that are in the code."""

from __future__ import annotations

import re
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+)`")
BREAKERS = 21


def rows() -> list[tuple[str, ...]]:
    page = (HOUSE / "docs" / "exactness.md").read_text()
    return ROW.findall(page[page.index("## What breaks exactness") :])


def test_every_breaker_has_a_row_a_guard_and_a_test() -> None:
    found = rows()
    assert [int(number) for number, *_ in found] == list(range(1, BREAKERS + 1))
    assert [number for number, _, _, tests in found if not TEST.findall(tests)] == []


def test_every_test_that_the_table_names_is_there() -> None:
    sources = "\n".join(file.read_text() for file in (HOUSE / "tests").rglob("test_*.py"))
    named = {name for *_, tests in rows() for name in TEST.findall(tests)}
    assert sorted(name for name in named if f"def {name}(" not in sources) == []
