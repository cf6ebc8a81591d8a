"""What `pip install lethe` brings, worked out from this environment, which holds more."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

from tests.images.compose import HOUSE

WEB_ONLY = Path(__file__).parent / "web_only"


def dependencies() -> list[str]:
    with (HOUSE / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["dependencies"])


def closure(wanted: Iterable[str]) -> set[str]:
    """Return the names of all distributions that these requirements bring, down to the last."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(one) for one in wanted]
    while waiting:
        one = waiting.pop()
        for extra in (*one.extras, ""):
            this = normal(one.name), extra
            if this in found:
                continue
            found.add(this)
            try:
                needed = requires(one.name) or []
            except PackageNotFoundError:  # for another system, or another Python
                continue
            for text in needed:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    waiting.append(inner)
    return {name for name, _ in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def web_only() -> dict[str, str]:
    """Return the environment of a process that has what `pip install lethe` brings, and nothing else of what is here."""
    brought = closure(dependencies()) | {"lethe"}
    forbidden = [
        module
        for module, owners in packages_distributions().items()
        if not any(normal(owner) in brought for owner in owners)
    ]
    return os.environ | {"FORBIDDEN_MODULES": " ".join(forbidden), "PYTHONPATH": f"{WEB_ONLY}:{HOUSE}"}
