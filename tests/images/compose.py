"""docker-compose.yml as a test reads it: YAML, with variables filled in as docker compose does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HOUSE = Path(__file__).resolve().parents[2]
PAGE = HOUSE / "docker-compose.yml"
EXAMPLE = HOUSE / ".env.example"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\}")
OURS = ("lethe-web", "lethe-worker")


def example() -> dict[str, str]:
    """Return the variables of .env.example with the values that they have there."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the page with its variables filled in.

    Raises:
        KeyError: a variable that must have a value has none; its argument is the page's sentence.
    """
    return dict(_filled(yaml.safe_load(PAGE.read_text()), variables))


def our_services(page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the services that run one of our images."""
    return {name: service for name, service in page["services"].items() if service["image"] in OURS}


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, variables) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    return VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    given = variables.get(found["name"], "")
    if given or not found["kind"]:
        return given
    if found["kind"] == ":?":
        raise KeyError(found["rest"])
    return found["rest"]
